// sapwood send to a stream of lines, on a ring that a script plays: what nothing from outside can
// make slow.
#include "support/scripted_ring.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/event_loop.hpp>
#include <tools/send_target.hpp>

#include <cerrno>
#include <chrono>
#include <doctest/doctest.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::test::scripted_ring;
using sapwood::test::temporary_directory;
using sapwood::tools::send_answer;

std::int32_t outcome(std::int64_t result) {
    return result >= 0 ? static_cast<std::int32_t>(result) : -errno;
}

/// On sockets, with what the kernel would do at once; a shutdown is left in flight, and so is a
/// receive.
std::optional<std::int32_t> done_at_once(const io_uring_sqe& sqe) {
    switch (sqe.opcode) {
    case IORING_OP_CONNECT:
        return outcome(::connect(sqe.fd, reinterpret_cast<const sockaddr*>(sqe.addr),
                                 static_cast<socklen_t>(sqe.off)));
    case IORING_OP_SEND:
        return outcome(
            ::send(sqe.fd, reinterpret_cast<const char*>(sqe.addr), sqe.len, MSG_NOSIGNAL));
    case IORING_OP_CLOSE:
        return outcome(::close(sqe.fd));
    default:
        return std::nullopt;
    }
}

/// Takes connections, and never looks at one.
class silent_listener {
  public:
    explicit silent_listener(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        path.copy(at.sun_path, sizeof(at.sun_path) - 1);
        REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
        REQUIRE(::listen(fd_, 16) == 0);
    }

    silent_listener(const silent_listener&) = delete;
    silent_listener& operator=(const silent_listener&) = delete;

    ~silent_listener() { ::close(fd_); }

  private:
    int fd_;
};

} // namespace

TEST_SUITE("line_target") {
    TEST_CASE("the time for the other side's end begins when it has been told of ours, however "
              "long that took") {
        const temporary_directory at;
        const silent_listener to(at / "lines");
        auto made = std::make_unique<scripted_ring>();
        auto& ring = *made;
        sapwood::event_loop loop(std::move(made));
        ring.answer = done_at_once;
        unsigned shutdowns = 0;
        ring.wait_for_thread = [&] { // nobody waits for a time: the end may be told as late as this
            REQUIRE(!ring.in_flight().empty());
            const io_uring_sqe last = ring.in_flight().back();
            REQUIRE(last.opcode == IORING_OP_SHUTDOWN);
            ++shutdowns;
            ring.advance(1h);
            ring.complete(last.user_data, outcome(::shutdown(last.fd, static_cast<int>(last.len))));
        };
        const auto body = [&]() -> task<> {
            const auto target = sapwood::tools::make_unix_lines(at / "lines", 250ms);
            const send_answer sent = co_await target->send("x\n", 1);
            CHECK(sent.is == send_answer::kind::taken);
            const auto began = ring.now();
            const send_answer end = co_await target->finish();
            CHECK(end.is == send_answer::kind::hopeless);
            CHECK(end.why ==
                  "the other side did not take everything within 0.25 seconds of the end");
            CHECK(ring.now() - began == 1h + 250ms);
            CHECK(target->may_be_lost() == 1);
        };
        loop.run(body());
        CHECK(shutdowns == 1);
    }
}
