#include "datagram_source.hpp"

#include "line_session.hpp"
#include "passed_descriptors.hpp"

#include <sapwood/path_lock.hpp>
#include <sapwood/sleep.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits>
#include <linux/sock_diag.h>
#include <optional>
#include <span>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// More than UDP carries. By a Unix socket as much comes as its sender has room for, of which
/// limits.line_bytes_max is kept.
constexpr std::size_t udp_bytes_max = 64u << 10;

/// What the kernel is asked to keep while we do not look; it gives less where net.core.rmem_max
/// says so.
constexpr int socket_buffer_bytes = 4 << 20;

/// Of the kernel's memory, besides its bytes: the end of an sk_buff's data alone is 320.
constexpr std::size_t datagram_costs_at_least = 320;

[[noreturn]] void fail(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

/// Whether nobody receives at the path any more. What is somebody's, of whatever kind, is not.
bool is_dead(const endpoint& at) {
    const owned_fd probe = detail::make_socket(AF_UNIX, SOCK_DGRAM, "cannot look at a socket");
    return ::connect(probe.fd(), at.data(), at.size()) != 0 && errno == ECONNREFUSED;
}

int receive_buffer_of(int fd) noexcept {
    int bytes = 0;
    socklen_t size = sizeof(bytes);
    return ::getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &size) == 0 ? bytes : 0;
}

/// Where it has more already, as net.core.rmem_default may say, it would be made smaller.
void ask_for_room(int fd, int family) {
    const owned_fd asked = detail::make_socket(family, SOCK_DGRAM, "cannot look at a socket");
    for (const int each : {asked.fd(), fd}) {
        ::setsockopt(each, SOL_SOCKET, SO_RCVBUF, &socket_buffer_bytes,
                     sizeof(socket_buffer_bytes));
        if (receive_buffer_of(asked.fd()) <= receive_buffer_of(fd)) {
            break;
        }
    }
}

/// Who has made it has chosen its room, as ReceiveBuffer= of a socket unit does: systemd, as root,
/// may have been given more than we would be.
bool has_chosen_room(int fd, int family) {
    const owned_fd usual = detail::make_socket(family, SOCK_DGRAM, "cannot look at a socket");
    return receive_buffer_of(fd) != receive_buffer_of(usual.fd());
}

bool is_socket(const std::string& path) noexcept {
    struct stat found {};

    return ::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode);
}

/// A message, its sender and its control data.
struct received_message {
    explicit received_message(std::span<char> into) : part{into.data(), into.size()} { reset(); }

    void reset() {
        header = {};
        header.msg_name = &name;
        header.msg_namelen = sizeof(name);
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }

    iovec part;
    sockaddr_storage name{};
    /// Where the socket is another's, times, labels and descriptors may come with the sender.
    alignas(cmsghdr) std::array<char, 1024> control{};
    msghdr header{};
};

constexpr uid_t nobody_knows = static_cast<uid_t>(-1);

/// Of a Unix socket's message; its user is nobody_knows where the kernel has not said.
ucred sender_of(const msghdr& message) {
    ucred who{.pid = 0, .uid = nobody_knows, .gid = static_cast<gid_t>(-1)};
    for (auto* at = CMSG_FIRSTHDR(&message); at != nullptr;
         at = CMSG_NXTHDR(const_cast<msghdr*>(&message), at)) {
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_CREDENTIALS) {
            std::memcpy(&who, CMSG_DATA(at), sizeof(who));
        }
    }
    return who;
}

} // namespace

datagram_source::datagram_source(const endpoint& at, mode_t mode) {
    const std::string purpose = fmt::format("cannot receive at {}", at.to_string());
    socket_ = socket(detail::make_socket(at.family(), SOCK_DGRAM, purpose).release());
    const std::string path = at.path();
    // Until it is bound: a path is there before connecting to it finds anybody.
    std::optional<detail::path_lock> lock;
    if (!path.empty()) {
        lock.emplace(path);
        if (lock->is_taken()) {
            fail(EADDRINUSE, purpose + lock->why_not());
        }
        if (is_socket(path) && lock->may_replace(path) && is_dead(at)) {
            ::unlink(path.c_str());
        }
    }
    ask_for_room(socket_.fd(), at.family());
    if (at.family() == AF_UNIX) {
        detail::set_option(socket_.fd(), SOL_SOCKET, SO_PASSCRED, 1, purpose);
        refuse_descriptors(socket_.fd());
    }
    // Nobody may send before the mode is what it is to be.
    const mode_t before = ::umask(0777 & ~mode);
    const int bound = ::bind(socket_.fd(), at.data(), at.size());
    const int error = errno;
    ::umask(before);
    if (bound != 0) {
        fail(error, lock && !lock->may_replace(path) ? purpose + lock->why_not() : purpose);
    }
    is_unix_ = at.family() == AF_UNIX;

    struct stat made {};

    if (!path.empty() && ::lstat(path.c_str(), &made) == 0) {
        path_ = path;
        device_ = made.st_dev;
        inode_ = made.st_ino;
    }
}

datagram_source::datagram_source(owned_fd inherited) : socket_(inherited.release()) {
    const int family = socket_.local_endpoint().family();
    is_unix_ = family == AF_UNIX;
    if (is_unix_) {
        detail::set_option(socket_.fd(), SOL_SOCKET, SO_PASSCRED, 1,
                           "cannot see who sends to an inherited socket");
        refuse_descriptors(socket_.fd());
    } else if (!has_chosen_room(socket_.fd(), family)) {
        ask_for_room(socket_.fd(), family);
    }
}

datagram_source::~datagram_source() {
    struct stat now {};

    // Another may have it by now.
    if (!path_.empty() && ::lstat(path_.c_str(), &now) == 0 && now.st_dev == device_ &&
        now.st_ino == inode_) {
        ::unlink(path_.c_str());
    }
}

task<> datagram_source::run(intake& shared, named_log& to) {
    buffer_bytes_ =
        is_unix_ ? std::max(udp_bytes_max, shared.limits.line_bytes_max) : udp_bytes_max;
    buffer_.reset(new char[buffer_bytes_]);
    received_message message({buffer_.get(), buffer_bytes_});
    bool is_ending = false;
    while (!is_ending) {
        message.reset();
        const auto got = co_await as_result(
            detail::receive_message_op(socket_, message.header, MSG_CMSG_CLOEXEC));
        if (!got) {
            if (got.error() == std::errc::operation_canceled) {
                break;
            }
            if (got.error() == std::errc::not_enough_memory ||
                got.error() == std::errc::no_buffer_space) {
                continue;
            }
            throw std::system_error(got.error(), "receive datagrams");
        }
        close_descriptors(message.header);
        if (looked_ != shared.now) {
            note_drops(shared, to);
        }
        if (!is_wanted(shared, message.header)) {
            continue;
        }
        const record_view line = made_of(shared, to, *got, message.header);
        if (!to.is_full() && shared.give_now(to, line)) {
            continue;
        }
        record made(line);
        while (!is_ending && to.is_full()) {
            const auto room = co_await as_result(to.room());
            is_ending = room.error() == std::errc::operation_canceled;
        }
        if (shared.give_now(to, made) == intake::given::taken) {
            continue;
        }
        if (is_ending) {
            ++shared.counts.records_left;
            continue;
        }
        const std::size_t bytes = made.message().size();
        const auto placed = co_await as_result(to.log().append(std::move(made)));
        if (placed) {
            shared.note_given(to, *placed, bytes);
        } else {
            is_ending = true;
            if (shared.give_now(to, made) != intake::given::taken) {
                ++shared.counts.records_left;
            }
        }
    }
    co_await take_rest(shared, to);
    note_drops(shared, to);
    throw cancelled{};
}

/// What the kernel has already, without waiting for more, or for room. What comes from now on need
/// not be taken: somebody may send on and on.
task<> datagram_source::take_rest(intake& shared, named_log& to) {
    constexpr unsigned at_once = 64; // then others have their turn, and who is to heed signals
    const auto until = saturating_add(event_loop::current().now(), shared.rest_takes_at_most);
    std::size_t left = queued_bytes_max();
    received_message message({buffer_.get(), buffer_bytes_});
    for (unsigned taken = 1; left != 0; ++taken) {
        message.reset();
        const ssize_t got =
            ::recvmsg(socket_.fd(), &message.header, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
        if (got < 0) {
            break;
        }
        left -= std::min(left, static_cast<std::size_t>(got) + datagram_costs_at_least);
        close_descriptors(message.header);
        if (is_wanted(shared, message.header)) {
            record made(made_of(shared, to, static_cast<std::size_t>(got), message.header));
            if (shared.give_now(to, made) != intake::given::taken) {
                ++shared.counts.records_left;
            }
        }
        if (taken % at_once == 0) {
            try {
                co_await yield();
            } catch (const cancelled&) { // it has been told already
            }
            if (event_loop::current().now() >= until) {
                break;
            }
        }
    }
}

/// No less than what waits in the socket's buffer takes of the kernel's memory.
std::size_t datagram_source::queued_bytes_max() const noexcept {
    std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
    socklen_t size = sizeof(info);
    if (is_unix_ || // there it counts as the senders'
        ::getsockopt(socket_.fd(), SOL_SOCKET, SO_MEMINFO, info.data(), &size) != 0) {
        return std::numeric_limits<std::size_t>::max();
    }
    return info[SK_MEMINFO_RMEM_ALLOC];
}

/// Where the kernel had no room for some since the last look, the log says so.
void datagram_source::note_drops(intake& shared, named_log& to) {
    looked_ = shared.now;
    std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
    socklen_t size = sizeof(info);
    if (::getsockopt(socket_.fd(), SOL_SOCKET, SO_MEMINFO, info.data(), &size) != 0) {
        return; // before Linux 4.12
    }
    const std::uint32_t more =
        info[SK_MEMINFO_DROPS] - std::exchange(drops_, info[SK_MEMINFO_DROPS]);
    shared.counts.datagrams_dropped += more;
    untold_ += more;
    if (untold_ == 0) {
        return;
    }
    record told(to.encode_text(
        {.producer = 0, .name = "sapwood"}, level::warning,
        fmt::format("{} datagrams that came at {} are missing here: its buffer was full", untold_,
                    socket_.local_endpoint().to_string())));
    if (shared.give_now(to, told) == intake::given::taken) {
        untold_ = 0; // or the next look has to do
    }
}

record_view datagram_source::made_of(const intake& shared, named_log& to, std::size_t size,
                                     const msghdr& message) const {
    const std::size_t kept = std::min({size, buffer_bytes_, shared.limits.line_bytes_max});
    const bool is_cut = kept < size || (message.msg_flags & MSG_TRUNC) != 0;
    source from;
    if (is_unix_) {
        const ucred who = sender_of(message);
        if (who.uid == nobody_knows) {
            from.name = "unix";
        } else {
            from = source::process("unix", who.pid, who.uid, who.gid);
        }
    } else {
        from = source::network(
            "udp", endpoint(static_cast<const sockaddr*>(message.msg_name), message.msg_namelen));
    }
    return encode_syslog(to, from, {buffer_.get(), kept}, is_cut);
}

/// Whether its sender may write.
bool datagram_source::is_wanted(intake& shared, const msghdr& message) const {
    // A list has no user whom nobody knows.
    const bool may_write = !is_unix_ || is_user(users_, sender_of(message).uid);
    shared.gate.users_refused += may_write ? 0 : 1;
    return may_write;
}

} // namespace sapwood::collector
