// What logger::durable() says of records that are lost, to whom, and how often: the backend alone,
// whose outputs are the test.
#include <sapwood/errors.hpp>
#include <sapwood/log_backend.hpp>

#include <doctest/doctest.h>
#include <system_error>
#include <thread>

namespace {

using namespace sapwood;
using detail::log_backend;

/// A log that is to be durable; all that it has is on disk at once.
struct losing_log {
    log_backend backend{{.ring_bytes = 4096,
                         .full = {},
                         .wants_location = false,
                         .wants_task = false,
                         .is_durable = true}};

    /// A record of this thread's.
    void drop() { backend.producer()->writer.drop(detail::drop_reason::ring_full); }

    std::error_code end(const log_backend::durable_wait& wait) {
        try {
            backend.end_durable(wait);
        } catch (const std::system_error& error) {
            return error.code();
        }
        return {};
    }

    std::error_code wait() { return end(backend.begin_durable()); }
};

} // namespace

TEST_SUITE("log_losses") {
    TEST_CASE("a wait that is given up has told nobody: the next one says what is lost") {
        losing_log log;
        CHECK(!log.wait());
        log.drop();
        (void)log.backend.begin_durable(); // cancelled, or there was no memory to wait with
        CHECK(log.wait() == errc::lost);
        CHECK(!log.wait());
    }

    TEST_CASE("all who wait when something is lost are told, and who begins later is not") {
        losing_log log;
        const auto before = log.backend.begin_durable();
        log.drop();
        const auto first = log.backend.begin_durable();
        const auto second = log.backend.begin_durable();
        CHECK(log.end(second) == errc::lost);
        const auto later = log.backend.begin_durable();
        CHECK(log.end(first) == errc::lost);
        CHECK(log.end(before) == errc::lost);
        CHECK(!log.end(later));
        CHECK(!log.wait());
    }

    TEST_CASE("what an output has lost before a thread first logged is no loss of the thread's") {
        losing_log log;
        log.backend.note_durable(0, 3);
        std::thread([&] {
            (void)log.backend.producer();
            CHECK(!log.wait());
            log.backend.note_durable(0, 4);
            CHECK(log.wait() == errc::lost);
        }).join();
    }

    TEST_CASE("a thread that waits for what others have logged is told what outputs have lost") {
        losing_log log;
        log.backend.note_durable(0, 3);
        std::thread([&] {
            CHECK(log.wait() == errc::lost);
            CHECK(!log.wait());
        }).join();
    }

    TEST_CASE("a record that had no ring to go into is lost to the thread that gets one then") {
        losing_log log;
        std::thread([&] {
            log.backend.count_drop_without_ring();
            (void)log.backend.producer();
            CHECK(log.wait() == errc::lost);
            CHECK(!log.wait());
        }).join();
    }
}
