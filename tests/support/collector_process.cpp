#include "support/collector_process.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::test {

namespace {

/// Of TCP and of the Unix socket.
constexpr auto places = 2;

/// A socket that is bound to a free port of this machine, and does not listen: who asks for any
/// port gets another one, and who asks for this one, with SO_REUSEADDR, gets it.
int reserved_port(std::string& place) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    auto* const address = reinterpret_cast<sockaddr*>(&at);
    if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::bind(fd, address, size) != 0 || ::getsockname(fd, address, &size) != 0) {
        throw std::system_error(errno, std::generic_category(), "a port for the collector");
    }
    place = fmt::format("127.0.0.1:{}", ntohs(at.sin_port));
    return fd;
}

bool has_ended(pid_t process) {
    siginfo_t how{};
    return ::waitid(P_PID, static_cast<id_t>(process), &how, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           how.si_pid == process;
}

} // namespace

collector_process::collector_process(std::string log, std::vector<std::string> more)
    : log_(std::move(log)),
      more_(std::move(more)),
      reserved_(reserved_port(place_)) {}

collector_process::~collector_process() {
    ::close(reserved_);
}

void collector_process::start() {
    std::vector<std::string> arguments = {"serve", "--log",  log_, "--http",
                                          place_,  "--http", path_};
    arguments.insert(arguments.end(), more_.begin(), more_.end());
    process_ = std::make_unique<program>("sapwood", std::move(arguments));
    bool is_over = false;
    eventually([&] {
        is_over = has_ended(process_->pid());
        const std::string out = process_->out_so_far();
        return is_over || std::ranges::count(out, '\n') >= places;
    });
    if (is_over) {
        throw std::runtime_error("sapwood serve does not begin: " + process_->wait().err);
    }
}

program::outcome collector_process::wait() {
    return process_->wait();
}

void collector_process::kill() {
    signal(SIGKILL);
    (void)wait();
}

program::outcome collector_process::stop() {
    signal(SIGTERM);
    return wait();
}

} // namespace sapwood::test
