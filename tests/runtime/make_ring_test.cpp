// make_ring: which ring a loop gets, and what is said about it.
#include "make_ring.hpp"
#include "uring_ring.hpp"

#include "support/child_process.hpp"

#include <cerrno>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <unistd.h>

namespace {

using sapwood::ring_kind;
using sapwood::test::in_child;

constexpr unsigned ftruncate_opcode = 55; // newer than liburing 2.3's header

/// SAPWOOD_RING, while it lives.
class setting {
  public:
    explicit setting(const char* value) {
        if (const char* const before = std::getenv("SAPWOOD_RING")) {
            before_ = before;
        }
        ::setenv("SAPWOOD_RING", value, 1);
    }

    setting(const setting&) = delete;
    setting& operator=(const setting&) = delete;

    ~setting() {
        if (before_) {
            ::setenv("SAPWOOD_RING", before_->c_str(), 1);
        } else {
            ::unsetenv("SAPWOOD_RING");
        }
    }

  private:
    std::optional<std::string> before_;
};

doctest::String report(ring_kind kind) {
    return sapwood::make_ring({.ring = kind})->report().c_str();
}

} // namespace

TEST_SUITE("make_ring") {

    TEST_CASE("no descriptor of a loop takes the place of a closed standard stream") {
        CHECK(in_child([] {
                  ::close(STDIN_FILENO);
                  ::close(STDOUT_FILENO);
                  ::close(STDERR_FILENO);
                  const auto ring = sapwood::make_ring({});
                  const int next = ::open("/dev/null", O_RDWR | O_CLOEXEC);
                  std::string seen;
                  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
                      char byte = 0;
                      seen += ::read(fd, &byte, 1) < 0 && errno == EBADF ? 'r' : '?';
                      seen += ::write(fd, &byte, 1) < 0 && errno == EBADF ? 'w' : '?';
                  }
                  return seen + (next > STDERR_FILENO ? " above" : " below");
              }) == "rwrwrw above");
    }

    TEST_CASE("SAPWOOD_RING decides where the program leaves it open") {
        const setting poll("poll");
        CHECK(report(ring_kind::automatic) == doctest::Contains("epoll and up to"));
    }

    TEST_CASE("what the program asks for stands, whatever SAPWOOD_RING says") {
        const setting poll("uring");
        CHECK(report(ring_kind::poll) == doctest::Contains("epoll and up to"));
    }

    TEST_CASE("a report tells what the ring has, and what each missing feature costs") {
        const sapwood::uring_ring full(sapwood::uring_ring::options{});
        sapwood::uring_ring::options old{};
        old.features_withheld = IORING_FEAT_EXT_ARG;
        old.opcodes_withheld = std::uint64_t{1} << ftruncate_opcode;
        const sapwood::uring_ring poor(old);
        const sapwood::ring_report has{.summary = full.report(), .features = full.features()};
        const sapwood::ring_report lacks{.summary = poor.report(), .features = poor.features()};
        CHECK(has.has("EXT_ARG"));
        CHECK_FALSE(lacks.has("EXT_ARG"));
        CHECK_FALSE(lacks.has("FTRUNCATE"));
        CHECK_FALSE(has.has("no such feature"));
        CHECK(has.features.size() == lacks.features.size());
        CHECK(lacks.text().starts_with(lacks.summary + '\n'));
        CHECK(doctest::String(lacks.text().c_str()) ==
              doctest::Contains("  missing: EXT_ARG (Linux 5.11): a timeout SQE for each wait"));
        CHECK(doctest::String(lacks.text().c_str()) ==
              doctest::Contains("  missing: FTRUNCATE (Linux 6.9): a thread truncates files"));
        CHECK(doctest::String(has.text().c_str()) == doctest::Contains("  used: "));
    }

    TEST_CASE("asking for a report changes nothing: it may be asked for again") {
        const sapwood::uring_ring ring(sapwood::uring_ring::options{});
        const auto text = [&] { return sapwood::ring_report{{}, ring.features()}.text(); };
        CHECK(text() == text());
    }

    TEST_CASE("the report of a ring without io_uring says so, with what it costs") {
        const sapwood::event_loop loop({.ring = ring_kind::poll});
        const auto report = loop.ring_report();
        CHECK(report.has("epoll"));
        CHECK_FALSE(report.has("io_uring"));
        CHECK(doctest::String(report.text().c_str()) ==
              doctest::Contains("  missing: io_uring (Linux 5.6): two changes of threads"));
    }

    TEST_CASE("a SAPWOOD_RING that makes no sense is refused and named") {
        const setting nonsense("epoll");
        try {
            (void)sapwood::make_ring({});
            FAIL("it was accepted");
        } catch (const std::system_error& refused) {
            CHECK(refused.code().value() == EINVAL);
            CHECK(doctest::String(refused.what()) ==
                  doctest::Contains("SAPWOOD_RING is \"epoll\"; set it to uring or poll"));
        }
    }

    TEST_CASE("a ring without entries is refused by the option's name") {
        CHECK_THROWS_WITH_AS((void)sapwood::make_ring({.ring = ring_kind::poll, .sq_entries = 0}),
                             "loop_options.sq_entries must be at least 1", std::invalid_argument);
    }
}
