#include "start_process.hpp"

#include <sapwood/fmt_library.hpp>
#include <sapwood/pipe.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <linux/close_range.h>
#include <memory>
#include <sched.h>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// The child shares our memory until it has become the program, with a stack of its own, while the
// thread that started it stands still: as vfork, but that every other thread runs on, and may hold
// any lock. So it makes system calls and nothing else, not even through libc's wrappers, which the
// sanitizers intercept; and it leaves what went wrong where we read it, so that a failed exec is an
// error of ours and no exit code. Its table of descriptors and its signal handlers are its own.

// The thread sanitizer takes clone for fork, and its child, which has our memory, for a process of
// its own: it would then see races everywhere. glibc's other name of the same function it leaves.
#if defined(__SANITIZE_THREAD__) && defined(__GLIBC__)
extern "C" int __clone(int (*run)(void*), void* stack, int flags, void* argument, ...) noexcept;
#define SAPWOOD_CLONE ::__clone
#else
#define SAPWOOD_CLONE ::clone
#endif

namespace sapwood::detail {

namespace {

constexpr std::size_t child_stack_bytes = 64u << 10;

/// CLONE_PIDFD is newer than some headers: Linux 5.2.
constexpr int clone_pidfd = 0x1000;

enum class step : std::uint8_t { none, streams, directory, program };

/// What the child gets and what it tells, in memory that both have.
struct orders {
    /// Where the program may be; ends with a null.
    const char* const* paths;
    char* const* arguments;
    char* const* environment;
    /// Null for none.
    const char* directory;
    /// What becomes descriptor 0, 1 and 2; -1 stays as it is.
    int streams[3];
    bool own_group;

    volatile step failed_at;
    volatile int error;
};

#define SAPWOOD_BARE                                                                               \
    __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined"),        \
                   noinline))

SAPWOOD_BARE void give_up(orders& with, step at) noexcept {
    with.error = errno;
    with.failed_at = at;
    for (;;) {
        ::syscall(SYS_exit_group, 127);
    }
}

/// Our handlers would run in the child; and what we ignore (SIGPIPE) is no business of the program.
SAPWOOD_BARE void reset_signals() noexcept {
    constexpr int signals_max = 64;
    const std::uint64_t default_action[8] = {}; // more than the kernel's struct, all zero: SIG_DFL
    for (int number = 1; number <= signals_max; ++number) {
        ::syscall(SYS_rt_sigaction, number, default_action, nullptr, sizeof(std::uint64_t));
    }
    const std::uint64_t none_blocked = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none_blocked, nullptr, sizeof(none_blocked));
}

SAPWOOD_BARE void set_up_streams(orders& with) noexcept {
    // First out of the way what would be overwritten before it is used.
    for (int target = 0; target < 3; ++target) {
        int& source = with.streams[target];
        if (source >= 0 && source < 3 && source != target) {
            source = static_cast<int>(::syscall(SYS_fcntl, source, F_DUPFD_CLOEXEC, 3));
            if (source < 0) {
                give_up(with, step::streams);
            }
        }
    }
    for (int target = 0; target < 3; ++target) {
        const int source = with.streams[target];
        if (source < 0) {
            continue;
        }
        const long outcome = source == target ? ::syscall(SYS_fcntl, target, F_SETFD, 0)
                                              : ::syscall(SYS_dup3, source, target, 0);
        if (outcome < 0) {
            give_up(with, step::streams);
        }
    }
    // What others opened without O_CLOEXEC. Before Linux 5.11 it stays open: ours all have it.
    ::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
}

/// As execvp: a folder without the program, or where we may not look, is passed over.
SAPWOOD_BARE void become_program(orders& with) noexcept {
    int error = ENOENT;
    for (const char* const* path = with.paths; *path != nullptr; ++path) {
        ::syscall(SYS_execve, *path, with.arguments, with.environment);
        if (errno == EACCES) {
            error = EACCES; // unless there is one further on
        } else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV) {
            error = errno;
            break;
        }
    }
    errno = error;
    give_up(with, step::program);
}

SAPWOOD_BARE int run_child(void* argument) noexcept {
    orders& with = *static_cast<orders*>(argument);
    if (with.own_group) {
        ::syscall(SYS_setpgid, 0, 0); // of oneself before exec it cannot fail
    }
    set_up_streams(with);
    if (with.directory != nullptr && ::syscall(SYS_chdir, with.directory) != 0) {
        give_up(with, step::directory);
    }
    reset_signals();
    become_program(with);
    return 0;
}

// --- the parent's side ---

/// While it lives this thread takes no signal at all: a handler of ours must not run in the child.
class all_signals_blocked {
  public:
    all_signals_blocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }

    all_signals_blocked(const all_signals_blocked&) = delete;
    all_signals_blocked& operator=(const all_signals_blocked&) = delete;

    ~all_signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

/// A null-terminated array of C strings, which must outlive it.
std::vector<char*> c_strings(const std::string* first, const std::vector<std::string>& rest) {
    std::vector<char*> pointers;
    pointers.reserve(rest.size() + 2);
    if (first != nullptr) {
        pointers.push_back(const_cast<char*>(first->c_str()));
    }
    for (const auto& text : rest) {
        pointers.push_back(const_cast<char*>(text.c_str()));
    }
    pointers.push_back(nullptr);
    return pointers;
}

/// process::start has given it one.
const std::vector<std::string>& environment_of(const command& what) {
    static const std::vector<std::string> none;
    return what.environment ? *what.environment : none;
}

void require_no_nul(const command& what) {
    const auto check = [&](const std::string& text, std::string_view which) {
        if (text.find('\0') != text.npos) {
            throw std::system_error(
                EINVAL, std::generic_category(),
                fmt::format("cannot start {}: {} contains a NUL", what.program.c_str(), which));
        }
    };
    check(what.program, "its name");
    check(what.directory, "its directory");
    std::ranges::for_each(what.arguments, [&](const auto& text) { check(text, "an argument"); });
    std::ranges::for_each(environment_of(what),
                          [&](const auto& text) { check(text, "its environment"); });
}

/// The PATH that the program is looked for in.
std::string search_path(const command& what) {
    constexpr std::string_view name = "PATH=";
    constexpr const char* where_none_is_set = "/bin:/usr/bin"; // as execvp
    const auto& environment = environment_of(what);
    const auto at = std::ranges::find_if(
        environment, [&](const std::string& text) { return text.starts_with(name); });
    return at != environment.end() ? at->substr(name.size()) : where_none_is_set;
}

std::vector<std::string> places_of(const std::string& program, std::string_view path) {
    if (program.find('/') != program.npos || program.empty()) {
        return {program};
    }
    std::vector<std::string> places;
    for (bool is_last = false; !is_last;) {
        const auto end = path.find(':');
        is_last = end == path.npos;
        const std::string_view folder = path.substr(0, end);
        places.push_back(folder.empty() ? "./" + program : fmt::format("{}/{}", folder, program));
        path.remove_prefix(is_last ? path.size() : end + 1);
    }
    return places;
}

[[noreturn]] void throw_failed(const command& what, step at, int error, const std::string& path) {
    std::string text = fmt::format("cannot start {}", what.program);
    switch (at) {
    case step::directory:
        text += fmt::format(" in the directory {}", what.directory);
        break;
    case step::streams:
        text += ": its standard streams cannot be set up; is a descriptor that was given open?";
        break;
    case step::none:
        if (error == EAGAIN) {
            text += ": no more processes are allowed; ulimit -u or the cgroup's pids.max may be "
                    "too low";
        }
        break;
    case step::program:
        const bool was_searched = what.program.find('/') == what.program.npos;
        if (error == ENOENT && was_searched) {
            text += fmt::format(": it is nowhere in PATH ({})", path);
        } else if (error == ENOENT && what.directory.empty() &&
                   ::access(what.program.c_str(), F_OK) == 0) {
            text += ": it is there, but not the interpreter that it names";
        } else if (error == EACCES) {
            text += ": it is not executable, or a folder on its way may not be searched";
        } else if (error == ENOEXEC) {
            text += ": it is no program for this machine, and no script with #! in its first line";
        }
        break;
    }
    throw std::system_error(error, std::generic_category(), text);
}

/// What the child gets as one of its streams, and our end where that is a pipe.
struct stream_ends {
    owned_fd theirs;
    owned_fd ours;
    int source = -1;
};

stream_ends open_stream(const stdio& wanted, int target) {
    stream_ends ends;
    switch (wanted.what()) {
    case stdio::kind::inherited:
    case stdio::kind::with_output:
        break;
    case stdio::kind::null:
        ends.theirs = owned_fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
        if (!ends.theirs.is_open()) {
            throw std::system_error(errno, std::generic_category(), "cannot open /dev/null");
        }
        break;
    case stdio::kind::pipe: {
        pipe made = pipe::make();
        ends.theirs = owned_fd((target == 0 ? made.reader : made.writer).release());
        ends.ours = owned_fd((target == 0 ? made.writer : made.reader).release());
        break;
    }
    case stdio::kind::descriptor:
        ends.source = wanted.fd();
        break;
    }
    if (ends.theirs.is_open()) {
        ends.source = ends.theirs.fd();
    }
    return ends;
}

/// Clones and waits until the child has become the program or has given up.
child clone_child(const command& what, orders& with, const std::string& path) {
    const auto stack = std::make_unique<std::byte[]>(child_stack_bytes);
    auto top = reinterpret_cast<std::uintptr_t>(stack.get()) + child_stack_bytes;
    top &= ~std::uintptr_t{15};
    int pidfd = -1;
    pid_t id = -1;
    int error = 0;
    {
        const all_signals_blocked meanwhile;
        id = SAPWOOD_CLONE(run_child, reinterpret_cast<void*>(top),
                           CLONE_VM | CLONE_VFORK | clone_pidfd | SIGCHLD, &with, &pidfd);
        error = errno;
    }
    if (id < 0) {
        throw_failed(what, step::none, error, path);
    }
    child made{.pidfd = owned_fd(pidfd), .id = id, .leads_group = with.own_group};
    if (with.failed_at != step::none) {
        siginfo_t ignored{};
        while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &ignored, WEXITED) != 0 &&
               errno == EINTR) {
        }
        throw_failed(what, with.failed_at, with.error, path);
    }
    return made;
}

} // namespace

started_process start_process(const command& what) {
    SAPWOOD_ASSERT(what.in.what() != stdio::kind::with_output &&
                       what.out.what() != stdio::kind::with_output,
                   "stdio::with_output() is for a command's standard error only");
    SAPWOOD_ASSERT(what.environment, "start_process() was given no environment");
    require_no_nul(what);
    const std::string path = search_path(what);
    const auto places = places_of(what.program, path);
    const auto paths = c_strings(nullptr, places);
    const auto arguments = c_strings(&what.program, what.arguments);
    const auto environment = c_strings(nullptr, environment_of(what));
    stream_ends in = open_stream(what.in, 0);
    stream_ends out = open_stream(what.out, 1);
    stream_ends err = open_stream(what.err, 2);
    if (what.err.what() == stdio::kind::with_output) {
        err.source = out.source >= 0 ? out.source : STDOUT_FILENO;
    }
    orders with{.paths = paths.data(),
                .arguments = arguments.data(),
                .environment = environment.data(),
                .directory = what.directory.empty() ? nullptr : what.directory.c_str(),
                .streams = {in.source, out.source, err.source},
                .own_group = what.own_group,
                .failed_at = step::none,
                .error = 0};
    started_process started;
    started.running = clone_child(what, with, path);
    started.in = std::move(in.ours);
    started.out = std::move(out.ours);
    started.err = std::move(err.ours);
    return started;
}

} // namespace sapwood::detail
