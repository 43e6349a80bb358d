// process: a program that was started, its standard streams, and its end. It is known by a pidfd:
// no signal of ours can go to another process that has got its number. Loop thread only.
#pragma once

#include <sapwood/command.hpp>
#include <sapwood/exit_status.hpp>
#include <sapwood/file.hpp>
#include <sapwood/task.hpp>

#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <sys/types.h>

namespace sapwood {

namespace detail {

/// A child process that is alive, or has not been reaped.
struct child {
    owned_fd pidfd;
    pid_t id = -1;
    bool leads_group = false;
    bool is_waited_for = false;
    /// Of whose process it is a child: none of a copy of that process that fork() makes.
    unsigned generation = 0;
};

/// Waits for a child's end, and reaps it.
class [[nodiscard]] wait_op final : public fd_op<wait_op, exit_status> {
  public:
    explicit wait_op(child& of) noexcept : fd_op(of.pidfd), id_(of.id) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    exit_status convert(std::int32_t) const noexcept;

    std::string describe() const override;

  private:
    pid_t id_;
    siginfo_t info_{};
};

} // namespace detail

/// What becomes of a process for which a wait is cancelled, or its time is up.
enum class on_cancel : std::uint8_t {
    /// It is ended and reaped with the wait: what a task has started does not outlive it.
    stop,
    /// It goes on, and may be waited for again. Until the `process` is destroyed, which ends it.
    leave,
};

/// May be moved while nobody waits for it. Destroyed while its process runs, it has it ended as
/// command::stop says: by a task of its own, which the loop's end waits for, so that no zombie is
/// left. Where no loop runs on this thread, or memory is out, by SIGKILL at once, and waits until
/// it is dead. A copy in a forked child leaves the process alone: it is no child of that one.
class process {
  public:
    /// No process.
    process() noexcept = default;

    /// Starts a program. That takes a thread of the common blocking pool for the time it needs,
    /// because the program is read from a disk. Throws std::system_error that names the program, or
    /// the directory, and what is wrong with it, and then nothing has been started. A request to
    /// stop, as with run_blocking, withdraws a start that still waits for a thread, which throws
    /// `cancelled` at once; one that has begun it does not break off, but is delivered at the next
    /// wait. Where the command has no environment, this process's is copied, PATH too, when the
    /// task begins, on the loop's thread.
    [[nodiscard]] static task<process> start(command what);

    process(process&&) noexcept = default;
    process& operator=(process&& other) noexcept;

    ~process();

    /// Its number. Another process may have it once this one has been waited for.
    [[nodiscard]] pid_t id() const noexcept { return child_ ? child_->id : -1; }

    /// Our ends of its pipes; not open where command asked for none. Close `in` to end its input.
    file in;
    file out;
    file err;

    /// Waits until it ends, and reaps it; afterwards the same status at once. One task at a time.
    /// Cancelled, it has the process ended as command::stop says, and throws `cancelled` when it is
    /// dead and reaped; with on_cancel::leave and leave_running at once, and where stop() fails,
    /// when it has. Throws
    /// std::system_error where the status is lost: SIGCHLD is ignored, or somebody else waits for
    /// every child (ECHILD).
    [[nodiscard]] task<exit_status> wait(on_cancel then = on_cancel::stop);

    /// Its status, where wait or stop has had it.
    [[nodiscard]] const std::optional<exit_status>& status() const noexcept { return status_; }

    /// Sends a signal. False where it has ended. Throws std::system_error (EPERM, where it runs as
    /// somebody else; EINVAL for what is no signal).
    bool kill(int signal = SIGKILL);

    /// Has it ended: asks with command::stop's signal, and after its grace kills it. leave_running
    /// does not count here. No request to stop is delivered meanwhile. Nobody may wait for it.
    [[nodiscard]] task<exit_status> stop();

  private:
    [[nodiscard]] bool has_child() const noexcept { return child_ && child_->pidfd.is_open(); }

    void abandon() noexcept;

    /// Null for none. Shared with the task that ends it, so that a task for which there is no
    /// memory does not take it along.
    std::shared_ptr<detail::child> child_;
    stop_options stop_;
    std::optional<exit_status> status_;
};

} // namespace sapwood
