#include <sapwood/process.hpp>

#include "fork_generation.hpp"
#include "sqe_calls.hpp"
#include "start_process.hpp"

#include <sapwood/fmt_library.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <cerrno>
#include <liburing.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sapwood {

namespace detail {

void wait_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_rw(opcode_waitid, &sqe, fd(), nullptr, P_PIDFD, 0);
    sqe.file_index = WEXITED;
    sqe.addr2 = reinterpret_cast<std::uintptr_t>(&info_);
}

exit_status wait_op::convert(std::int32_t) const noexcept {
    return info_.si_code == CLD_EXITED
               ? exit_status::exited(info_.si_status)
               : exit_status::killed(info_.si_status, info_.si_code == CLD_DUMPED);
}

std::string wait_op::describe() const {
    return fmt::format("cannot learn how process {} ended; is SIGCHLD ignored, or does somebody "
                       "else wait for every child?",
                       id_);
}

namespace {

/// PIDFD_SIGNAL_PROCESS_GROUP: Linux 6.9.
constexpr unsigned to_its_group = 4;

int send(const child& to, int signal, unsigned flags) noexcept {
    return static_cast<int>(
        ::syscall(SYS_pidfd_send_signal, to.pidfd.fd(), signal, nullptr, flags));
}

bool has_ended(const child& one) noexcept {
    pollfd ended{.fd = one.pidfd.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&ended, 1, 0) > 0;
}

/// 0, or an errno: ESRCH where it has been reaped. A process that has ended takes signals in vain.
int send_signal(const child& to, int signal) noexcept {
    if (!to.leads_group) {
        return send(to, signal, 0) == 0 ? 0 : errno;
    }
    if (send(to, signal, to_its_group) == 0) {
        return 0;
    }
    if (errno != EINVAL || signal < 0 || signal > SIGRTMAX) {
        return errno;
    }
    // An older kernel. The group's number is its own as long as its leader is alive.
    if (has_ended(to)) {
        return ESRCH;
    }
    return ::kill(-to.id, signal) == 0 ? 0 : errno;
}

[[noreturn]] void throw_unsent(const child& to, int signal, int error) {
    throw std::system_error(error, std::generic_category(),
                            fmt::format("cannot send signal {} to process {}", signal, to.id));
}

/// False where it has ended.
bool send_or_throw(const child& to, int signal) {
    const int error = send_signal(to, signal);
    if (error != 0 && error != ESRCH) {
        throw_unsent(to, signal, error);
    }
    return error == 0;
}

/// Asks, waits for the grace, kills, reaps. Under a shield.
task<exit_status> end_child(child& one, stop_options how) {
    if (how.grace > clock::duration::zero() && how.signal != SIGKILL) {
        send_or_throw(one, how.signal);
        (void)send_signal(one, SIGCONT);
        const auto ended = co_await as_result(timeout(how.grace, wait_op(one)));
        if (ended) {
            co_return *ended;
        }
        if (ended.error() != std::errc::timed_out) {
            throw std::system_error(ended.error(), wait_op(one).describe());
        }
    }
    send_or_throw(one, SIGKILL);
    co_return co_await wait_op(one);
}

/// SIGKILL, and waits here until it is dead.
void kill_at_once(const child& one) noexcept {
    if (const int error = send_signal(one, SIGKILL); error != 0 && error != ESRCH) {
        return; // it is somebody else's now, and may live for ever
    }
    siginfo_t ignored{};
    while (::waitid(P_PIDFD, static_cast<id_t>(one.pidfd.fd()), &ignored, WEXITED) != 0 &&
           errno == EINTR) {
    }
}

/// See to a child that nobody else holds any more.
task<> end_abandoned(std::shared_ptr<child> one, stop_options how) {
    try {
        (void)co_await end_child(*one, how);
        co_return;
    } catch (const std::bad_alloc&) {
        kill_at_once(*one);
        co_return;
    } catch (const std::system_error& failure) {
        if (failure.code() == std::errc::no_child_process) { // somebody else has reaped it
            co_return;
        }
        // It may not be sent signals. It lives on, and is reaped when it ends.
        event_loop::report_unhandled(&event_loop::current(), std::current_exception());
    }
    (void)co_await as_result(wait_op(*one));
}

task<> reap_abandoned(std::shared_ptr<child> one) {
    (void)co_await as_result(wait_op(*one)); // until it ends or the loop does
}

/// What ends by itself need not be told.
class deaf_listener final : public stop_listener {
  public:
    void stop_requested() noexcept override {}
};

constinit deaf_listener nobody;

std::vector<std::string> own_environment() {
    std::vector<std::string> copy;
    for (char** at = ::environ; at != nullptr && *at != nullptr; ++at) {
        copy.emplace_back(*at);
    }
    return copy;
}

} // namespace

} // namespace detail

task<process> process::start(command what) {
    if (!what.environment) {
        what.environment = detail::own_environment();
    }
    process made;
    made.stop_ = what.stop;
    made.child_ = std::make_shared<detail::child>(); // memory before there is anything to lose
    auto started = co_await run_blocking([&what] { return detail::start_process(what); });
    *made.child_ = std::move(started.running);
    made.child_->generation = detail::current_generation();
    made.in = file(started.in.release());
    made.out = file(started.out.release());
    made.err = file(started.err.release());
    co_return made;
}

process& process::operator=(process&& other) noexcept {
    if (this != &other) {
        abandon();
        child_ = std::move(other.child_);
        stop_ = other.stop_;
        status_ = other.status_;
        in = std::move(other.in);
        out = std::move(other.out);
        err = std::move(other.err);
    }
    return *this;
}

process::~process() {
    abandon();
}

void process::abandon() noexcept {
    // Let go of when it is somebody else's, or dead: only the descriptor is closed then.
    const auto mine = std::move(child_);
    if (mine == nullptr || !mine->pidfd.is_open() || status_ ||
        mine->generation != detail::current_generation()) {
        return;
    }
    SAPWOOD_ASSERT(!mine->is_waited_for, "a process was destroyed while a task waits for it");
    if (detail::running_loop != nullptr) {
        try {
            if (stop_.leave_running) {
                spawn(detail::reap_abandoned(mine)).detach();
            } else {
                // Shielded, because the loop's end would stop it before it starts.
                auto ending = detail::end_abandoned(mine, stop_);
                spawn_shielded(std::move(ending), detail::nobody).detach();
            }
            return;
        } catch (const std::bad_alloc&) {
            // Without memory for a task as without a loop.
        }
    }
    if (!stop_.leave_running) {
        detail::kill_at_once(*mine);
    }
}

task<exit_status> process::wait(on_cancel then) {
    SAPWOOD_ASSERT(status_ || has_child(), "wait() for a process that is none");
    if (!status_) {
        SAPWOOD_ASSERT(!child_->is_waited_for, "two tasks wait for one process at once");
        const auto mine = child_;
        mine->is_waited_for = true;
        const auto ended = co_await as_result(detail::wait_op(*mine));
        mine->is_waited_for = false;
        if (ended) {
            status_ = *ended;
        } else if (ended.error() != std::errc::operation_canceled) {
            throw std::system_error(ended.error(), detail::wait_op(*child_).describe());
        } else {
            if (!stop_.leave_running && then == on_cancel::stop) {
                try {
                    (void)co_await stop();
                } catch (const std::system_error&) {
                    // The request to stop counts, not that this failed.
                }
            }
            throw cancelled{};
        }
    }
    co_return *status_;
}

bool process::kill(int signal) {
    if (status_ || !has_child()) {
        return false;
    }
    return detail::send_or_throw(*child_, signal);
}

task<exit_status> process::stop() {
    SAPWOOD_ASSERT(status_ || has_child(), "stop() of a process that is none");
    if (!status_) {
        SAPWOOD_ASSERT(!child_->is_waited_for, "stop() of a process that another task waits for");
        const shield_scope shielded(*event_loop::current().running_task());
        status_ = co_await detail::end_child(*child_, stop_);
    }
    co_return *status_;
}

} // namespace sapwood
