// One process per connection, the oldest model: each is plain code that waits wherever it has to,
// and nothing that one does can harm another. What it costs is a fork per client, and pages of
// memory that are the child's alone.
#include "sockets.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace server_models {

namespace {

[[noreturn]] void be_child(const service& what, int client, pid_t server) noexcept {
    // A server that is killed leaves nobody behind.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != server) {
        ::_exit(1);
    }
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    try {
        const std::string name = peer_of(client);
        what.say("new connection from {}, process {}", name, ::getpid());
        say_gone(what, name, answer_until_gone(client, what));
        ::_exit(0);
    } catch (const std::exception&) { // no memory for a name
        ::_exit(1);
    }
}

class children {
  public:
    explicit children(const service& what) : what_(what) {}

    children(const children&) = delete;
    children& operator=(const children&) = delete;

    /// Stops all and awaits them.
    ~children() {
        for (const pid_t child : pids_) {
            ::kill(child, SIGTERM);
        }
        for (const pid_t child : pids_) {
            ::waitpid(child, nullptr, 0);
        }
    }

    void start(int client) {
        pids_.reserve(pids_.size() + 1); // so that no child is without a place here
        const pid_t server = ::getpid();
        const pid_t child = ::fork();
        if (child == 0) {
            be_child(what_, client, server);
        }
        if (child > 0) {
            pids_.push_back(child);
        } else {
            print_line("no process for {}: {}", peer_of(client), std::strerror(errno));
            turn_away(client, "this server has no process left for you\n");
        }
    }

    /// Those that have ended; one SIGCHLD may stand for several.
    void reap() {
        for (pid_t child = 0; (child = ::waitpid(-1, nullptr, WNOHANG)) > 0;) {
            std::erase(pids_, child);
        }
    }

  private:
    const service& what_;
    std::vector<pid_t> pids_;
};

} // namespace

void serve_by_processes(const service& what) {
    const signal_watch signals{SIGINT, SIGTERM, SIGCHLD};
    door entrance(what);
    children all(what);
    for (;;) {
        pollfd watched[] = {{.fd = signals.fd(), .events = POLLIN, .revents = 0},
                            {.fd = entrance.fd(), .events = POLLIN, .revents = 0}};
        (void)::poll(watched, entrance.is_open() ? 2 : 1, entrance.wait_ms_max());
        while (const int number = signals.next()) {
            if (number != SIGCHLD) {
                return;
            }
            all.reap();
        }
        while (const descriptor client = entrance.accept(false)) {
            all.start(client.fd()); // the child has a copy, ours is closed here
        }
    }
}

} // namespace server_models
