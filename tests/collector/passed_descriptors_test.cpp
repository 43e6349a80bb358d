// Descriptors that somebody sends along to a collector's Unix sockets: they never hold it up.
#include "collector/served.hpp"
#include "support/co_test.hpp"

#include <collector/closer.hpp>
#include <collector/datagram_source.hpp>
#include <collector/passed_descriptors.hpp>

#include <sapwood/datagram.hpp>
#include <sapwood/unix_socket.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <latch>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::endpoint;
using sapwood::owned_fd;
using sapwood::collector::collector_options;
using sapwood::collector::datagram_source;
using sapwood::collector::source_kind;
using sapwood::test::served;

using lines = std::vector<std::string>;

constexpr int pass_rights = 83; // SO_PASSRIGHTS, Linux 6.16

bool may_be_refused() {
    const auto probe = sapwood::unix_datagram::make_unnamed();
    constexpr int no = 0;
    return ::setsockopt(probe.fd(), SOL_SOCKET, pass_rights, &no, sizeof(no)) == 0;
}

/// What sendmsg says, 0 where it is sent. `to` may be null.
int send_with(int passed, std::string text, int by, const endpoint* to) {
    iovec part{.iov_base = text.data(), .iov_len = text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    if (to != nullptr) {
        message.msg_name = const_cast<sockaddr*>(to->data());
        message.msg_namelen = to->size();
    }
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &passed, sizeof(passed));
    return ::sendmsg(by, &message, MSG_NOSIGNAL) > 0 ? 0 : errno;
}

collector_options listening(source_kind kind, const endpoint& at) {
    collector_options options;
    auto& listener = options.listeners.emplace_back();
    listener.kind = kind;
    listener.at = at;
    return options;
}

/// As one that a service manager passes on, and which takes descriptors, as before Linux 6.16.
struct taking_source {
    explicit taking_source(const endpoint& place)
        : bound(place),
          source(owned_fd(::fcntl(bound.fd(), F_DUPFD_CLOEXEC, 0))) {
        constexpr int yes = 1;
        ::setsockopt(bound.fd(), SOL_SOCKET, pass_rights, &yes, sizeof(yes));
    }

    sapwood::unix_datagram bound;
    datagram_source source;
};

/// Closes that wait until the test lets them; its thread outlives the test.
struct slow_closes {
    static constexpr int most = 8;

    static int close(int fd) {
        if (fd == 0) {
            begun.count_down();
        }
        go_on.wait();
        ++times.at(static_cast<std::size_t>(fd));
        over.count_down();
        return 0;
    }

    static inline std::latch begun{1};
    static inline std::latch go_on{1};
    static inline std::latch over{most};
    static inline std::array<std::atomic<int>, most> times{};
};

} // namespace

TEST_SUITE("passed_descriptors") {
    TEST_CASE("no more are open at a time than may be, with the one whose close waits") {
        static auto& one = *new sapwood::collector::closer(slow_closes::most, slow_closes::close);
        one.add(0);
        slow_closes::begun.wait(); // nothing waits for its turn now
        for (int fd = 1; fd < slow_closes::most; ++fd) {
            CHECK_NOTHROW(one.add(fd));
        }
        CHECK_THROWS_AS(one.add(slow_closes::most), std::system_error);
        slow_closes::go_on.count_down();
        slow_closes::over.wait();
        for (const auto& each : slow_closes::times) {
            CHECK(each == 1);
        }
    }

    CO_TEST_CASE("connections leave room for those that are being closed") {
        rlimit limit{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
        if (limit.rlim_max == RLIM_INFINITY) {
            MESSAGE("skipped: this process may have any number of files open");
            co_return;
        }
        std::array<std::size_t, 2> fit{};
        for (const source_kind kind : {source_kind::lines, source_kind::syslog_datagrams}) {
            const sapwood::test::temporary_directory directory;
            collector_options options = listening(kind, endpoint::unix_path(directory / "log"));
            options.limits.connections_max = limit.rlim_max; // more than there can be
            served at(std::move(options));
            co_await at.begin();
            fit.at(kind == source_kind::lines ? 0 : 1) = at.it->shared().limits.connections_max;
            co_await at.end();
        }
        CHECK(fit[0] - fit[1] == sapwood::collector::passed_descriptors_max());
    }

    CO_TEST_CASE("who sends one to a collector's Unix socket is told that he may not") {
        if (!may_be_refused()) {
            MESSAGE("skipped: Linux before 6.16 knows no SO_PASSRIGHTS");
            co_return;
        }
        for (const source_kind kind : {source_kind::syslog_datagrams, source_kind::lines}) {
            const sapwood::test::temporary_directory directory;
            const endpoint place = endpoint::unix_path(directory / "log");
            served at(listening(kind, place));
            co_await at.begin();
            if (kind == source_kind::lines) {
                auto client = co_await sapwood::unix_stream::connect(place);
                CHECK(send_with(client.fd(), "with one\n", client.fd(), nullptr) == EPERM);
                co_await client.write_all("without\n"sv);
                co_await client.shutdown_write();
                CHECK(co_await sapwood::test::read_to_end(client) == "");
            } else {
                const auto client = sapwood::unix_datagram::make_unnamed();
                CHECK(send_with(client.fd(), "<14>with one", client.fd(), &place) == EPERM);
                co_await sapwood::test::settle();
            }
            co_await at.end();
            CHECK(at.records().size() == (kind == source_kind::lines ? 1 : 0));
        }
    }

    CO_TEST_CASE("one that comes all the same is closed, and may take its time for that") {
        const sapwood::test::temporary_directory directory;
        const endpoint place = endpoint::unix_path(directory / "log");
        served at;
        co_await at.begin();
        taking_source taking(place);
        auto& shared = at.it->shared();
        auto running = sapwood::spawn(taking.source.run(shared, shared.logs.front()));
        const auto client = sapwood::unix_datagram::make_unnamed();

        // Its last close waits until the peer, which reads nothing, has taken all.
        constexpr linger some_time{.l_onoff = 1, .l_linger = 20};
        sapwood::tcp_listener listener(sapwood::test::loopback());
        auto lingering = co_await sapwood::tcp_stream::connect(listener.local_endpoint());
        auto peer = co_await listener.accept();
        ::setsockopt(lingering.fd(), SOL_SOCKET, SO_LINGER, &some_time, sizeof(some_time));
        const std::string much(1u << 20, 'x');
        while (::send(lingering.fd(), much.data(), much.size(), MSG_DONTWAIT) > 0) {
        }
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        const owned_fd reader(ends[0]);
        {
            const owned_fd writer(ends[1]);
            CHECK(send_with(lingering.fd(), "<14>with a socket", client.fd(), &place) == 0);
            CHECK(send_with(writer.fd(), "<14>with a pipe", client.fd(), &place) == 0);
        }
        const auto before = std::chrono::steady_clock::now();
        co_await lingering.close();
        co_await sapwood::test::settle();
        running.cancel();
        CHECK_THROWS_AS(co_await running, sapwood::cancelled);
        CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(10));

        peer = {};
        char byte = 0;
        CHECK(::read(reader.fd(), &byte, 1) == 0); // nobody has the other end any more
        co_await at.end();
        CHECK(at.records() == lines{"with a socket", "with a pipe"});
    }
}
