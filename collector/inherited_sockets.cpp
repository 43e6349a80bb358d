#include "inherited_sockets.hpp"

#include "collector.hpp"
#include "environment.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdexcept>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// SD_LISTEN_FDS_START
constexpr int first_fd = 3;
constexpr std::uint64_t count_max = 1024;

int option_of(int fd, int name) noexcept {
    int value = -1;
    socklen_t size = sizeof(value);
    return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

endpoint place_of(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("descriptor {} was passed on as a socket", fd));
    }
    return {reinterpret_cast<const sockaddr*>(&address), size};
}

} // namespace

inherited_sockets inherited_sockets::from_environment() {
    inherited_sockets made;
    const std::uint64_t whose = number_in("LISTEN_PID");
    const std::uint64_t count = number_in("LISTEN_FDS");
    const char* const listed = std::getenv("LISTEN_FDNAMES");
    const std::string all_names = listed != nullptr ? listed : "";
    for (const char* each : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
        ::unsetenv(each);
    }
    if (whose != static_cast<std::uint64_t>(::getpid())) {
        return made;
    }
    std::string_view names = all_names;
    for (std::uint64_t i = 0; i < std::min(count, count_max); ++i) {
        const int fd = first_fd + static_cast<int>(i);
        entry& each = made.all_.emplace_back();
        each.socket = owned_fd(fd);
        const auto end = std::min(names.find(':'), names.size());
        each.name = names.substr(0, end);
        names.remove_prefix(std::min(end + 1, names.size()));
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        each.at = place_of(fd);
        const int type = option_of(fd, SO_TYPE);
        const int family = each.at.family();
        if ((type != SOCK_STREAM && type != SOCK_DGRAM) ||
            (family != AF_UNIX && family != AF_INET && family != AF_INET6)) {
            throw std::runtime_error(
                fmt::format("socket {} ({}) was passed on and is of no kind that records come by: "
                            "say ListenStream= or ListenDatagram=, with an address or a path",
                            fd, each.name));
        }
        each.is_stream = type == SOCK_STREAM;
        if (each.is_stream && option_of(fd, SO_ACCEPTCONN) != 1) {
            throw std::runtime_error(fmt::format(
                "socket {} ({}) was passed on and does not listen: say Accept=no", fd, each.name));
        }
    }
    return made;
}

void inherited_sockets::claim(listen_options& options) {
    options.inherited_fd = -1;
    const bool by_name = !options.inherited.empty();
    const auto is_for = [&](const entry& each) {
        return !each.is_claimed &&
               (by_name ? each.name == options.inherited : each.at == options.at);
    };
    auto found = std::ranges::find_if(all_, [&](const entry& each) {
        return is_for(each) && each.is_stream == options.is_stream();
    });
    if (found == all_.end() && by_name) {
        found = std::ranges::find_if(all_, is_for); // of the other kind, which is told
    }
    if (found == all_.end()) {
        if (by_name) {
            throw std::runtime_error(
                fmt::format("no socket named {} was passed on by who started this: it needs a "
                            "systemd socket unit with FileDescriptorName={}",
                            options.inherited, options.inherited));
        }
        return;
    }
    if (found->is_stream != options.is_stream()) {
        throw std::runtime_error(fmt::format("the socket named {} is for {}, and a listener for {} "
                                             "asks for it",
                                             options.inherited,
                                             found->is_stream ? "streams" : "datagrams",
                                             found->is_stream ? "datagrams" : "streams"));
    }
    found->is_claimed = true;
    options.at = found->at;
    options.inherited_fd = found->socket.fd();
}

owned_fd inherited_sockets::take(const listen_options& options) {
    for (entry& each : all_) {
        if (options.inherited_fd >= 0 && each.socket.fd() == options.inherited_fd) {
            return std::exchange(each.socket, owned_fd());
        }
    }
    return {};
}

void inherited_sockets::require_all_claimed() const {
    for (const entry& each : all_) {
        if (!each.is_claimed) {
            const std::string at = each.at.to_string();
            if (each.name.empty()) {
                throw std::runtime_error(
                    fmt::format("a socket at {} was passed on, and no listener is for it: have one "
                                "listen at {}, or give the socket a FileDescriptorName=, and say "
                                "fd: and that name",
                                at, at));
            }
            throw std::runtime_error(fmt::format(
                "a socket named {} at {} was passed on, and no listener is for it: say where its "
                "records go with fd:{}",
                each.name, at, each.name));
        }
    }
}

} // namespace sapwood::collector
