// socket: operations on a ring that a script plays, as old kernels answer.
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"
#include "support/sockets.hpp"

#include <sapwood/unix_socket.hpp>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace {

using sapwood::task;
using sapwood::unix_stream;
using sapwood::test::scripted_ring;
using sapwood::test::settle;

using reply = std::optional<std::int32_t>;

/// Runs `body` with a stream on a ring that answers its operations so, and returns their opcodes.
std::vector<int> opcodes_of(const std::function<task<>(unix_stream&)>& body,
                            const std::function<reply(const io_uring_sqe&)>& answer) {
    auto made = std::make_unique<scripted_ring>();
    auto& ring = *made;
    sapwood::event_loop loop(std::move(made));
    auto [stream, peer] = unix_stream::make_pair();
    std::vector<int> opcodes;
    ring.answer = [&, fd = stream.fd()](const io_uring_sqe& sqe) -> reply {
        if (sqe.fd != fd) {
            return std::nullopt;
        }
        opcodes.push_back(sqe.opcode);
        return answer(sqe);
    };
    loop.run(body(stream));
    return opcodes;
}

task<std::size_t> read_once(unix_stream& from) {
    std::array<char, 16> bytes{};
    co_return co_await from.read_some(bytes);
}

} // namespace

TEST_SUITE("socket") {

    TEST_CASE("where a call does not wait as it should, a poll does, and it is made again") {
        int calls = 0;
        const auto opcodes = opcodes_of(
            [](unix_stream& stream) -> task<> { CHECK(co_await read_once(stream) == 3); },
            [&](const io_uring_sqe& sqe) -> reply {
                if (sqe.opcode == IORING_OP_POLL_ADD) {
                    return POLLIN;
                }
                return ++calls < 3 ? -EAGAIN : 3;
            });
        CHECK(opcodes == std::vector<int>{IORING_OP_RECV, IORING_OP_POLL_ADD, IORING_OP_RECV,
                                          IORING_OP_POLL_ADD, IORING_OP_RECV});
    }

    TEST_CASE("such a poll can be interrupted, and can be cancelled") {
        int polls = 0;
        const auto opcodes = opcodes_of(
            [](unix_stream& stream) -> task<> {
                auto reader = sapwood::spawn(read_once(stream));
                co_await settle();
                reader.cancel();
                CHECK_THROWS_AS((void)co_await reader, sapwood::cancelled);
            },
            [&](const io_uring_sqe& sqe) -> reply {
                if (sqe.opcode == IORING_OP_POLL_ADD) {
                    return ++polls == 1 ? reply(-EINTR) : std::nullopt;
                }
                return -EAGAIN;
            });
        CHECK(opcodes == std::vector<int>{IORING_OP_RECV, IORING_OP_POLL_ADD, IORING_OP_POLL_ADD});
    }

    TEST_CASE("bytes that came with the request to stop are returned") {
        auto made = std::make_unique<scripted_ring>();
        auto& ring = *made;
        sapwood::event_loop loop(std::move(made));
        ring.answer = [](const io_uring_sqe&) { return reply(); };
        ring.answer_cancel = [](const io_uring_sqe& sqe) -> reply {
            return sqe.opcode == IORING_OP_RECV ? 5 : -ECANCELED;
        };
        auto body = []() -> task<> {
            auto [stream, peer] = unix_stream::make_pair();
            auto reader = sapwood::spawn(read_once(stream));
            co_await settle();
            reader.cancel();
            CHECK(co_await reader == 5);
        };
        loop.run(body());
    }

    TEST_CASE("a connect that is told to be in progress waits for its end and asks how it was") {
        auto made = std::make_unique<scripted_ring>();
        auto& ring = *made;
        sapwood::event_loop loop(std::move(made));
        std::vector<int> opcodes;
        ring.answer = [&](const io_uring_sqe& sqe) -> reply {
            if (sqe.opcode != IORING_OP_CONNECT && sqe.opcode != IORING_OP_POLL_ADD) {
                return std::nullopt;
            }
            opcodes.push_back(sqe.opcode);
            return sqe.opcode == IORING_OP_CONNECT ? -EINPROGRESS : POLLOUT;
        };
        auto body = []() -> task<> {
            const auto stream =
                co_await sapwood::tcp_stream::connect(sapwood::endpoint("127.0.0.1", 9));
            CHECK(stream.is_open());
        };
        loop.run(body());
        CHECK(opcodes == std::vector<int>{IORING_OP_CONNECT, IORING_OP_POLL_ADD});
    }

    TEST_CASE("the endpoints of what is no socket are an error") {
        CHECK_THROWS_AS((void)sapwood::socket().local_endpoint(), std::system_error);
        auto [left, right] = unix_stream::make_pair();
        CHECK(left.local_endpoint().to_string() == "unix:");
        CHECK(left.peer_endpoint().family() == AF_UNIX);
    }
}
