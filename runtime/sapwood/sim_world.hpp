// sim_world: a machine that is not there, to test programs on. Processes run on it one after the
// other, each with a loop whose ring is the world's: the same code as ever, with virtual time,
// files in memory of which the world knows what a disk would have, and faults by chance. A process
// may be killed and the machine's power be cut at any operation; the next process finds what is
// left. All that happens is decided by the seed: the same seed, the same run, to the last
// operation. Nothing sleeps, no other thread takes part. docs/simulation.md tells how to use it.
// One thread only.
//
// What is simulated: operations on files and directories by path and by descriptor, syncs, locks
// (flock), timers, cancelling. What is not: sockets, pipes, processes, run_blocking (they are the
// machine's own, and not deterministic), memory maps, permissions.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/sim_random.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct io_uring_sqe;

namespace sapwood {

class ring;

namespace detail {

class sim_machine;

} // namespace detail

/// How often things go wrong: once in so many times, by chance; never where it is 0.
struct sim_faults {
    /// A write takes only some of its bytes.
    unsigned short_write = 0;
    /// An operation is interrupted before it did anything (EINTR).
    unsigned interrupted = 0;
    /// The kernel has no memory for it now (EAGAIN).
    unsigned try_again = 0;
    /// A write fails (EIO), sometimes after some of its bytes.
    unsigned write_error = 0;
    /// A sync fails (EIO, ENOSPC, EDQUOT). It is told once; what was to be synced is not on the
    /// disk, and a second sync says that all is well.
    unsigned sync_error = 0;
    /// An open, rename or unlink fails (EIO, EMFILE, ENOMEM).
    unsigned name_error = 0;
    /// An operation takes up to slow_for.
    unsigned slow = 0;
    /// An operation takes hang_for, and cannot be cancelled.
    unsigned hang = 0;
    /// Entering the ring comes back with SQEs still staged, as when a signal comes.
    unsigned early_return = 0;
    /// The kernel gives an operation up before it did anything, and nobody has asked for that
    /// (ECANCELED): it could make no worker for it.
    unsigned given_up = 0;
    clock::duration slow_for = std::chrono::milliseconds(100);
    clock::duration hang_for = std::chrono::seconds(10);

    /// A few of them, by chance, at rates by chance: what a test of many seeds wants.
    [[nodiscard]] static sim_faults some(sim_random& chance);
};

/// A time in which what needs room on the disk fails: writes that make a file longer, new names.
struct sim_outage {
    /// From now on.
    clock::duration from{};
    clock::duration to{};
    /// ENOSPC, EDQUOT, EFBIG; EROFS, EIO, EPERM, which other changes and syncs meet as well.
    int error = 0;
    /// So much room is left. A write ends short before one fails.
    std::uint64_t bytes_left = 0;
};

enum class sim_crash : std::uint8_t {
    /// The process: everything that the kernel has stays.
    kill,
    /// The machine: what no sync has made durable may stay, or not, or in part.
    power_cut,
};

struct sim_options {
    std::uint64_t seed = 0;
    sim_faults faults{};
    /// Of the ring, powers of two. Small ones are full often.
    unsigned sq_entries = 64;
    unsigned cq_entries = 256;
    /// Whether trace() is kept. A run costs several times as much then, and is the same.
    bool traces = false;
    /// Virtual time after which a process that has not come to its end counts as hung.
    clock::duration patience = std::chrono::hours(2);
};

/// What has happened so far.
struct sim_counts {
    std::uint64_t operations = 0;
    std::uint64_t short_writes = 0;
    std::uint64_t interrupted = 0;
    std::uint64_t tried_again = 0;
    std::uint64_t write_errors = 0;
    std::uint64_t sync_errors = 0;
    std::uint64_t name_errors = 0;
    std::uint64_t outage_errors = 0;
    std::uint64_t slow = 0;
    std::uint64_t hung = 0;
    std::uint64_t early_returns = 0;
    std::uint64_t given_up = 0;
    std::uint64_t overflows = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t cancelled_too_late = 0;
    std::uint64_t crashes = 0;
    /// Files of which the kernel has forgotten, when their process was killed, what a failed sync
    /// had left in memory only.
    std::uint64_t evicted = 0;
};

class sim_world {
  public:
    explicit sim_world(sim_options options = {});
    sim_world(const sim_world&) = delete;
    sim_world& operator=(const sim_world&) = delete;
    ~sim_world();

    /// A process: runs `main` on a loop of this world, to its end or until the process crashes or
    /// hangs. True where it came to its end. What it throws is thrown, unless it has crashed.
    ///
    /// A process that has crashed runs on for a while, in a world that nobody will look at and
    /// where nothing fails, with `main` cancelled: frames must end as they would in life. What it
    /// does and says then does not count, and has_crashed() tells.
    bool run(task<> main);

    /// A ring of this world, for a loop of one's own: a process that begins with the ring and ends
    /// with it, one at a time. The world must outlive it.
    [[nodiscard]] std::unique_ptr<ring> make_ring();

    /// The process crashes when so many more operations have completed, or in the midst of the last
    /// of them.
    void crash_at(std::uint64_t operations, sim_crash how);

    /// Between two processes: the power is cut (or nothing happens).
    void crash(sim_crash how);

    /// Whether the process that runs, or ran last, has crashed.
    [[nodiscard]] bool has_crashed() const noexcept;

    /// Whether it hung: it waited, and nothing was left that could have woken it; or its patience
    /// was over.
    [[nodiscard]] bool has_hung() const noexcept;

    void add(const sim_outage& outage);

    /// From now on other faults are as likely.
    void set_faults(const sim_faults& faults);

    /// No faults any more, and all outages are over.
    void heal();

    /// Asked before each operation is carried out: a result or a negative errno to be given instead
    /// of doing it, or nothing. For tests of one thing at a time.
    void script(std::function<std::optional<std::int32_t>(const io_uring_sqe&)> answer);

    /// Virtual; goes on from process to process.
    [[nodiscard]] clock::time_point now() const noexcept;

    /// For decisions of the test's own: other numbers than the world's.
    [[nodiscard]] sim_random& chance() noexcept;

    /// What a process would read now. Nothing where there is no such regular file.
    [[nodiscard]] std::optional<std::string> contents(std::string_view path) const;

    /// What the disk has of it for sure.
    [[nodiscard]] std::optional<std::string> durable_contents(std::string_view path) const;

    /// Of a directory, in order.
    [[nodiscard]] std::vector<std::string> names(std::string_view folder = "/") const;

    /// A file that was there before, and is durable.
    void put(std::string_view path, std::string_view contents);

    /// The same of other things: a symbolic link, a FIFO, a directory.
    void put_symlink(std::string_view path, std::string_view target);
    void put_fifo(std::string_view path);
    void put_directory(std::string_view path);

    [[nodiscard]] const sim_counts& counts() const noexcept;

    /// Each operation, one a line: when it completed, what it was, its result; and what crashes
    /// left.
    [[nodiscard]] const std::vector<std::string>& trace() const noexcept;

    /// Adds a line of the test's own, where it is kept.
    void note(std::string_view line);

    /// Of all operations so far, their times and results: equal for equal runs.
    [[nodiscard]] std::uint64_t digest() const noexcept;

    /// For sapwood's own tests.
    [[nodiscard]] detail::sim_machine& machine() noexcept { return *machine_; }

  private:
    const std::unique_ptr<detail::sim_machine> machine_;
};

} // namespace sapwood
