// unix_socket: paths and abstract names, credentials, descriptors that are passed.
#include "support/co_test.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/pipe.hpp>
#include <sapwood/unix_socket.hpp>

#include <array>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::endpoint;
using sapwood::task;
using sapwood::unix_listener;
using sapwood::unix_stream;
using sapwood::test::failure_of;
using sapwood::test::settle;
using sapwood::test::temporary_directory;

std::pair<std::error_code, std::string> listen_failure(const endpoint& at) {
    try {
        const unix_listener listener(at);
    } catch (const std::system_error& failure) {
        return {failure.code(), failure.what()};
    }
    return {};
}

endpoint abstract(std::string_view name) {
    return endpoint::unix_abstract("sapwood-test-" + std::to_string(::getpid()) + '-' +
                                   std::string(name));
}

constexpr uid_t nobody = 65534;

/// What a process leaves that was killed.
void leave_stale(const endpoint& at) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(fd, at.data(), at.size()) == 0);
    REQUIRE(::listen(fd, 1) == 0);
    ::close(fd);
}

task<> talk(unix_listener& listener, endpoint to) {
    auto client = co_await unix_stream::connect(to);
    auto server = co_await listener.accept();
    co_await client.write_all("hello"sv);
    std::array<char, 5> bytes{};
    CHECK(co_await server.read_exactly(bytes));
    CHECK(std::string_view(bytes.data(), 5) == "hello");
}

} // namespace

TEST_SUITE("unix_socket") {

    CO_TEST_CASE("a listener on a path is found there and takes the path away when it closes") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        unix_listener listener(at);
        CHECK(listener.local_endpoint() == at);
        co_await talk(listener, at);

        struct ::stat status {};

        REQUIRE(::stat(at.path().c_str(), &status) == 0);
        CHECK((status.st_mode & 0777) == 0600);
        co_await listener.close();
        CHECK_FALSE(std::filesystem::exists(at.path()));
        {
            unix_listener first(at);
            const unix_listener moved(std::move(first));
            CHECK(std::filesystem::exists(at.path()));
        }
        CHECK_FALSE(std::filesystem::exists(at.path()));
    }

    CO_TEST_CASE("an abstract name needs no file") {
        const auto at = abstract("name");
        unix_listener listener(at);
        CHECK(listener.local_endpoint() == at);
        co_await talk(listener, at);
        CHECK(listen_failure(at).first == std::errc::address_in_use);
    }

    CO_TEST_CASE("a stale path is replaced") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        leave_stale(at);
        unix_listener listener(at);
        co_await talk(listener, at);
    }

    CO_TEST_CASE("who locks the folder keeps nobody from listening there") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        leave_stale(at);
        sapwood::test::fill(directory / "socket.lock", ""); // of one that was killed meanwhile
        const sapwood::owned_fd folder(
            ::open((directory / "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(::flock(folder.fd(), LOCK_EX | LOCK_NB) == 0);
        unix_listener listener(at);
        co_await talk(listener, at);
        CHECK_FALSE(std::filesystem::exists(directory / "socket.lock"));
    }

    TEST_CASE("who is about to listen at a path is not taken for dead, and is named") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        // Bound, and does not listen yet: until it does connecting to it is refused.
        const sapwood::owned_fd other(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::bind(other.fd(), at.data(), at.size()) == 0);
        const std::string lock = directory / "socket.lock";
        const sapwood::owned_fd held(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(::flock(held.fd(), LOCK_EX | LOCK_NB) == 0);
        const auto [code, text] = listen_failure(at);
        CHECK(code == std::errc::address_in_use);
        CHECK(text.find(lock + ": another process has locked it") != std::string::npos);
        CHECK(std::filesystem::exists(at.path()));
        CHECK(std::filesystem::exists(lock));
    }

    TEST_CASE("what somebody else has put under a lock's name stays, and is in nobody's way") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        const std::string lock = directory / "socket.lock";
        const auto is_in_way = [&] {
            struct ::stat before {};

            struct ::stat after {};

            REQUIRE(::lstat(lock.c_str(), &before) == 0);
            bool is_replaced = true;
            for (const bool is_there : {false, true}) {
                if (is_there) {
                    leave_stale(at);
                }
                const auto [code, text] = listen_failure(at);
                CHECK(text == "");
                is_replaced = is_replaced && !code;
            }
            return !is_replaced || ::lstat(lock.c_str(), &after) != 0 ||
                   before.st_ino != after.st_ino;
        };
        sapwood::test::fill(lock, "text"); // another program's
        CHECK_FALSE(is_in_way());
        CHECK(sapwood::test::contents_of(lock) == "text");
        std::filesystem::remove(lock);

        REQUIRE(::mkfifo(lock.c_str(), 0600) == 0);
        CHECK_FALSE(is_in_way());
        std::filesystem::remove(lock);

        REQUIRE(::symlink("elsewhere", lock.c_str()) == 0);
        CHECK_FALSE(is_in_way());
        CHECK_FALSE(std::filesystem::exists(directory / "elsewhere"));
        std::filesystem::remove(lock);

        std::filesystem::create_directory(lock);
        CHECK_FALSE(is_in_way());
        std::filesystem::remove(lock);

        if (::geteuid() != 0) {
            MESSAGE("skipped: another user's file, which only root can make");
            return;
        }
        const sapwood::owned_fd held(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        REQUIRE(::fchown(held.fd(), nobody, nobody) == 0);
        REQUIRE(::fchmod(held.fd(), 0666) == 0);
        REQUIRE(::flock(held.fd(), LOCK_EX | LOCK_NB) == 0);
        CHECK_FALSE(is_in_way());
        // What is another user's is not replaced then.
        leave_stale(at);
        REQUIRE(::chown(at.path().c_str(), nobody, nobody) == 0);
        const auto [code, text] = listen_failure(at);
        CHECK(code == std::errc::address_in_use);
        CHECK(text.find("socket.lock: it is somebody else's: remove it") != std::string::npos);
    }

    CO_TEST_CASE("a live socket is not replaced, not even one whose backlog is full") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        unix_listener first(at, {.backlog = 0});
        const auto [code, text] = listen_failure(at);
        CHECK(code == std::errc::address_in_use);
        CHECK(text.find("somebody listens there") != std::string::npos);
        CHECK(listen_failure(at).first == std::errc::address_in_use);
        CHECK(listen_failure(at).first == std::errc::address_in_use);
        CHECK(std::filesystem::exists(at.path()));
        co_await first.close();
    }

    TEST_CASE("what is no socket is not replaced") {
        const temporary_directory directory;
        sapwood::test::fill(directory / "file", "text");
        const auto [code, text] = listen_failure(endpoint::unix_path(directory / "file"));
        CHECK(code == std::errc::address_in_use);
        CHECK(text.find("something else") != std::string::npos);
        CHECK(sapwood::test::contents_of(directory / "file") == "text");
    }

    CO_TEST_CASE("a path that became another's is left alone") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        unix_listener first(at);
        std::filesystem::rename(at.path(), directory / "aside");
        unix_listener second(at);
        co_await first.close();
        CHECK(std::filesystem::exists(at.path()));
    }

    CO_TEST_CASE("connecting to a path without a listener names it and the reason") {
        const temporary_directory directory;
        const auto at = endpoint::unix_path(directory / "socket");
        auto [code, text] = co_await failure_of([&] { return unix_stream::connect(at); });
        CHECK(code == std::errc::no_such_file_or_directory);
        CHECK(text == "cannot connect to " + at.to_string() + ": No such file or directory");
        leave_stale(at);
        CHECK((co_await failure_of([&] { return unix_stream::connect(at); })).first ==
              std::errc::connection_refused);
    }

    CO_TEST_CASE("a connect that waits for room in the backlog can be cancelled") {
        const auto at = abstract("cancelled");
        const unix_listener listener(at, {.backlog = 0});
        auto first = co_await unix_stream::connect(at);
        auto waiting = sapwood::spawn(unix_stream::connect(at));
        co_await settle();
        CHECK_FALSE(waiting.done());
        waiting.cancel();
        CHECK_THROWS_AS((void)co_await waiting, sapwood::cancelled);
    }

    CO_TEST_CASE("a connect waits while the backlog is full") {
        const auto at = abstract("full");
        unix_listener listener(at, {.backlog = 0});
        auto first = co_await unix_stream::connect(at);
        auto waiting = sapwood::spawn(unix_stream::connect(at));
        co_await settle();
        CHECK_FALSE(waiting.done());
        auto accepted = co_await listener.accept();
        auto second = co_await waiting;
        CHECK(second.is_open());
    }

    CO_TEST_CASE("an accept that waits can be cancelled") {
        unix_listener listener(abstract("cancel"));
        auto accepting = sapwood::spawn(listener.accept());
        co_await settle();
        accepting.cancel();
        CHECK_THROWS_AS((void)co_await accepting, sapwood::cancelled);
    }

    CO_TEST_CASE("the kernel tells who the peer is") {
        const auto at = abstract("credentials");
        unix_listener listener(at);
        auto client = co_await unix_stream::connect(at);
        auto server = co_await listener.accept();
        for (const auto& peer : {server.peer_credentials(), client.peer_credentials()}) {
            CHECK(peer.pid == ::getpid());
            CHECK(peer.uid == ::geteuid());
            CHECK(peer.gid == ::getegid());
        }
        CHECK_THROWS_AS((void)unix_stream().peer_credentials(), std::system_error);
    }

    CO_TEST_CASE(
        "a descriptor that is passed is the same open file, and exec does not pass it on") {
        auto [left, right] = unix_stream::make_pair();
        auto pipe = sapwood::pipe::make();
        co_await left.write_all("before"sv);
        co_await left.send_descriptor(pipe.writer.fd());
        co_await left.write_all("after"sv);
        std::array<char, 6> bytes{};
        CHECK(co_await right.read_exactly(bytes));
        auto received = co_await right.receive_descriptor();
        REQUIRE(received.is_open());
        CHECK(received.fd() != pipe.writer.fd());
        CHECK((::fcntl(received.fd(), F_GETFD) & FD_CLOEXEC) != 0);
        sapwood::file writer(received.release());
        co_await writer.write_all("through"sv);
        std::array<char, 16> text{};
        CHECK(co_await pipe.reader.read_some(text) == 7);
        CHECK(co_await right.read_exactly(std::span(bytes).first(5)));
        CHECK(std::string_view(bytes.data(), 5) == "after");
        co_await left.close();
        CHECK_FALSE((co_await right.receive_descriptor()).is_open());
    }

    CO_TEST_CASE("receiving a descriptor waits for it, and a byte without one is an error") {
        auto [left, right] = unix_stream::make_pair();
        auto receiving = sapwood::spawn(right.receive_descriptor());
        co_await settle();
        CHECK_FALSE(receiving.done());
        receiving.cancel();
        CHECK_THROWS_AS((void)co_await receiving, sapwood::cancelled);
        co_await left.write_all("x"sv);
        CHECK((co_await failure_of([&] { return right.receive_descriptor(); })).first ==
              std::errc::bad_message);
    }

    CO_TEST_CASE("what is no descriptor is not sent, and the error names it") {
        auto [left, right] = unix_stream::make_pair();
        const auto [code, text] = co_await failure_of([&] { return left.send_descriptor(-1); });
        CHECK(code == std::errc::bad_file_descriptor);
        CHECK(text.find("cannot send file descriptor -1") != text.npos);
    }

    CO_TEST_CASE("a peer that sends several descriptors leaves none behind") {
        auto [left, right] = unix_stream::make_pair();
        const int before = ::dup(left.fd());
        ::close(before);
        std::array<int, 3> many{left.fd(), left.fd(), left.fd()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(many))> control{};
        char byte = 0;
        iovec part{.iov_base = &byte, .iov_len = 1};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(many));
        std::memcpy(CMSG_DATA(header), many.data(), sizeof(many));
        REQUIRE(::sendmsg(left.fd(), &message, 0) == 1);
        CHECK((co_await failure_of([&] { return right.receive_descriptor(); })).first ==
              std::errc::bad_message);
        const int after = ::dup(left.fd());
        ::close(after);
        CHECK(after == before);
    }

    CO_TEST_CASE("a listener that was taken over leaves its path where it is") {
        const temporary_directory directory;
        const std::string path = directory / "socket";
        const int made = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const endpoint at = endpoint::unix_path(path);
        REQUIRE(::bind(made, at.data(), at.size()) == 0);
        REQUIRE(::listen(made, 8) == 0);
        {
            auto adopted = unix_listener::adopt(sapwood::owned_fd(made));
            CHECK(adopted.local_endpoint() == at);
            auto client = co_await unix_stream::connect(at);
            auto server = co_await adopted.accept();
            CHECK(server.peer_credentials().pid == ::getpid());
            co_await adopted.close();
        }
        CHECK(::access(path.c_str(), F_OK) == 0);
        const int internet = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::listen(internet, 8) == 0);
        CHECK_THROWS_AS((void)unix_listener::adopt(sapwood::owned_fd(internet)), std::system_error);
    }
}
