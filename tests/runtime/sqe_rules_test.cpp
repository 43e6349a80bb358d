// sqe_rules: chains of SQEs, on poll_ring as on the kernel's ring.
#include "support/ring_driver.hpp"
#include "support/temporary_directory.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::test::descriptor;
using sapwood::test::driver;
using sapwood::test::on_both_rings;
using sapwood::test::on_poll_ring;
using sapwood::test::pipe_ends;
using sapwood::test::temporary_directory;

} // namespace

TEST_SUITE("sqe_rules") {

    TEST_CASE("a linked operation starts when the one before it has succeeded") {
        on_both_rings([](driver& on) {
            pipe_ends pipe;
            std::array<char, 64> bytes{};
            on.stage_read(1, pipe.read, std::span(bytes).first(1), static_cast<std::uint64_t>(-1),
                          IOSQE_IO_LINK);
            on.stage_nop(2, IOSQE_IO_LINK);
            on.stage_nop(3);
            on.stage_nop(4);
            CHECK(on.result_of(4) == 0);
            CHECK(on.is_pending(2));
            CHECK(on.is_pending(3));
            REQUIRE(::write(pipe.write, "x", 1) == 1);
            CHECK(on.result_of(3) == 0);
            CHECK(on.order() == std::vector<std::uint64_t>{4, 1, 2, 3});
        });
    }

    TEST_CASE("a failure, a short transfer or a cancellation cancels the rest of the chain") {
        on_both_rings([](driver& on) {
            std::array<char, 64> bytes{};
            on.stage_read(1, 9999, bytes, 0, IOSQE_IO_LINK);
            on.stage_nop(2, IOSQE_IO_LINK);
            on.stage_nop(3);
            CHECK(on.result_of(1) == -EBADF);
            CHECK(on.result_of(2) == -ECANCELED);
            CHECK(on.result_of(3) == -ECANCELED);

            pipe_ends pipe;
            REQUIRE(::write(pipe.write, "x", 1) == 1);
            on.stage_read(4, pipe.read, bytes, 0, IOSQE_IO_LINK);
            on.stage_nop(5);
            CHECK(on.result_of(4) == 1);
            CHECK(on.result_of(5) == -ECANCELED);

            on.stage_read(6, pipe.read, bytes, 0, IOSQE_IO_LINK);
            on.stage_nop(7);
            CHECK(on.is_pending(6));
            on.stage_cancel(8, 6);
            CHECK(on.result_of(6) == -ECANCELED);
            CHECK(on.result_of(7) == -ECANCELED);
        });
    }

    TEST_CASE("a hard link holds although the operation before it failed") {
        on_both_rings([](driver& on) {
            std::array<char, 64> bytes{};
            on.stage_read(1, 9999, bytes, 0, IOSQE_IO_HARDLINK);
            on.stage_nop(2);
            CHECK(on.result_of(1) == -EBADF);
            CHECK(on.result_of(2) == 0);
        });
    }

    TEST_CASE("a write and its sync in a chain happen in this order") {
        on_both_rings([](driver& on) {
            const temporary_directory folder;
            const descriptor log(
                ::open((folder / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            on.stage_write(1, log, std::string_view("ring"), 0, IOSQE_IO_LINK);
            on.stage(2, [&](io_uring_sqe* sqe) { ::io_uring_prep_fsync(sqe, log, 0); });
            CHECK(on.result_of(2) == 0);
            CHECK(on.order() == std::vector<std::uint64_t>{1, 2});
        });
    }

    TEST_CASE("a completion that is not wanted on success is not given") {
        on_both_rings([](driver& on) {
            on.stage_nop(1, IOSQE_CQE_SKIP_SUCCESS);
            on.stage_nop(2);
            CHECK(on.result_of(2) == 0);
            CHECK(on.is_pending(1));
            std::array<char, 64> bytes{};
            on.stage_read(3, 9999, bytes, 0, IOSQE_CQE_SKIP_SUCCESS);
            CHECK(on.result_of(3) == -EBADF);
        });
    }

    TEST_CASE("a chain with an operation that is refused does not start at all") {
        on_poll_ring([](driver& on) {
            on.stage_nop(1, IOSQE_IO_LINK);
            on.stage(2, [](io_uring_sqe* sqe) {
                ::io_uring_prep_nop(sqe);
                sqe->opcode = 200;
            });
            CHECK(on.result_of(1) == -ECANCELED);
            CHECK(on.result_of(2) == -ENOSYS);
        });
    }

    // --- the queues ---
}
