#include "open_log_file.hpp"

#include "mistakes.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::detail {

namespace {

/// Opening begins anew when the name changes hands meanwhile; more often than this it does not.
constexpr int attempts_max = 16;

constexpr int flags_always = O_RDWR | O_APPEND;

/// How long a lock that nobody seems to hold is waited for: the kernel lets go of a killed
/// process's rings, and so of its files, a moment after the process is gone.
constexpr clock::duration orphaned_lock_patience = std::chrono::seconds(1);
constexpr clock::duration lock_retry_every = std::chrono::milliseconds(5);

/// Who holds a lock, for a message to a person: `process 42 (name)`, and what to do about it.
struct lock_owner {
    std::string name;
    std::string_view advice;
};

/// Who holds the flock(2) on the file, without a name where no process is known to; from
/// /proc/locks (proc(5)), whose lines are `1: FLOCK  ADVISORY  WRITE 42 08:01:1234 0 EOF` with the
/// device in hexadecimal.
lock_owner lock_holder(const file_status& status) {
    const std::string wanted = fmt::format("{:02x}:{:02x}:{}", status.device >> 32,
                                           status.device & 0xffffffff, status.inode);
    std::ifstream locks("/proc/locks");
    std::string line;
    while (std::getline(locks, line)) {
        std::istringstream fields(line);
        std::string number;
        std::string kind;
        std::string mode;
        std::string access;
        std::string where;
        long pid = 0;
        // A line of somebody who waits for a lock has `->` before its kind, and is not the
        // holder's. READ is who looks for a moment whether there is a writer.
        if (fields >> number >> kind >> mode >> access >> pid >> where && kind == "FLOCK" &&
            access == "WRITE" && where == wanted && pid > 0) {
            std::string name;
            std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
            if (name.empty()) {
                return {}; // it is gone
            }
            if (pid == ::getpid()) {
                return {fmt::format("this process ({})", pid), "close that log first"};
            }
            return {fmt::format("process {} ({})", pid, name), "end that one"};
        }
    }
    return {};
}

/// One writer per file. The lock belongs to the open file: it goes with the process, however that
/// ends.
task<> lock_file(file& log, const file_status& status, const std::string& path) {
    const auto until = saturating_add(event_loop::current().now(), orphaned_lock_patience);
    while (const std::error_code refused = log.try_lock()) {
        if (refused != std::errc::operation_would_block) {
            throw std::system_error(refused, fmt::format("cannot lock {}", path));
        }
        lock_owner holder = lock_holder(status);
        if (!holder.name.empty() || event_loop::current().now() >= until) {
            if (holder.name.empty()) {
                holder = {"another process", "end that one"};
            }
            throw_errno(EWOULDBLOCK, fmt::format("cannot open {} for writing: {} is writing it "
                                                 "already; {}, or choose another file",
                                                 path, holder.name, holder.advice));
        }
        co_await sleep_for(lock_retry_every);
    }
}

/// What else might have been put where a log is expected: a link would have us write to its
/// target, a FIFO to whoever reads from it.
void require_plain_file(const file_status& status, const std::string& path) {
    if (!status.is_regular()) {
        throw_errno(EINVAL, fmt::format("cannot open {} as a log: it is not a regular file", path));
    }
    if (status.links > 1 && !makes(mistake::accept_hard_link)) {
        throw_errno(EMLINK, fmt::format("cannot open {} as a log: the file has another name (a "
                                        "hard link), and what is written would be in both; remove "
                                        "one of them",
                                        path));
    }
}

/// With a slash at its end.
std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

/// Empty where the path has none.
std::string parent_of(const std::string& path) {
    if (path.find('/') == path.npos) {
        return {};
    }
    const auto slash = path.find_last_not_of('/', path.rfind('/'));
    return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

/// Makes a directory, which survives the machine then, if that is wanted. ENOENT where one above it
/// is missing; it may be there.
task<std::error_code> make_one(const std::string& at, const log_file_settings& settings) {
    const auto made = co_await as_result(make_directory(at, settings.directory_mode));
    // Also one that was there: who made it may have been killed before this.
    const bool is_there = made || made.error() == std::errc::file_exists;
    if (is_there && (settings.sync_directory || settings.has_segments)) {
        co_await sync_directory_of(at);
    }
    if (!is_there && made.error() != std::errc::no_such_file_or_directory) {
        throw std::system_error(
            made.error(), fmt::format("cannot make the directory {} for {}", at, settings.path));
    }
    co_return made.error();
}

/// The directory `folder`, unless it is among `synced` by now.
task<> sync_once(std::string folder, file_identity which, std::vector<file_identity>& synced) {
    if (std::find(synced.begin(), synced.end(), which) != synced.end()) {
        co_return;
    }
    synced.push_back(which);
    try {
        co_await sync_directory_of(folder);
    } catch (const std::system_error& error) {
        // Who may not read one has not made what is in it.
        if (error.code() != std::errc::permission_denied &&
            error.code() != std::errc::operation_not_permitted &&
            error.code() != std::errc::invalid_argument) {
            throw;
        }
    }
}

/// Nothing where that may not be known: above the directory that a program works in, say.
task<std::optional<file_status>> status_if_permitted(std::string path) {
    std::optional<file_status> found;
    try {
        found = co_await status_of(std::move(path), at_symlink::follow);
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::permission_denied) {
            throw;
        }
    }
    co_return found;
}

/// Who made `folder`, which ends with a slash, or those above it may have been killed before the
/// sync of theirs, or syncs none. As far as that file system goes: the name of the place where it
/// is mounted is another's. Above it is what the path names, links among them; and what the
/// directory is really in, wherever a link or the place that the program works in leads to.
task<> sync_directories_above(std::string folder) {
    const file_status own = co_await status_of(folder, at_symlink::follow);
    std::vector<file_identity> synced;
    synced.push_back(file_identity::of(own));
    for (std::string at = parent_of(folder); !at.empty(); at = parent_of(at)) {
        const std::string above = directory_of(at);
        const file_status status = co_await status_of(above, at_symlink::follow);
        if (status.device != own.device) {
            break;
        }
        co_await sync_once(above, file_identity::of(status), synced);
    }
    file_identity below = synced.front();
    for (std::string above = folder + "../";; above += "../") {
        const std::optional<file_status> status = co_await status_if_permitted(above);
        if (!status || status->device != own.device || file_identity::of(*status) == below) {
            break; // at the root, above which it is itself
        }
        below = file_identity::of(*status);
        co_await sync_once(above, below, synced);
    }
}

/// Those above the file that are missing.
task<> make_directories_of(const log_file_settings& settings) {
    const std::string& path = settings.path;
    std::vector<std::string> missing;
    std::string lowest; // of those that are there
    for (std::string at = parent_of(path); !at.empty(); at = parent_of(at)) {
        if (co_await make_one(at, settings) != std::errc::no_such_file_or_directory) {
            lowest = at;
            break;
        }
        missing.push_back(at);
    }
    for (; !missing.empty(); missing.pop_back()) {
        if (co_await make_one(missing.back(), settings) == std::errc::no_such_file_or_directory) {
            throw_errno(ENOENT,
                        fmt::format("cannot make the directory {} for {}", missing.back(), path));
        }
    }
    // Those above a segment in the making are on disk since the log was opened.
    if (!settings.must_be_new && (settings.sync_directory || settings.has_segments)) {
        if (lowest.empty() && !path.starts_with('/')) {
            lowest = ".";
        }
        lowest += '/';
        co_await sync_directories_above(std::move(lowest));
    }
}

task<> give_to_group(const file& log, const log_file_settings& settings) {
    const auto change = [fd = log.fd(), group = settings.group]() -> int {
        return ::fchown(fd, static_cast<uid_t>(-1), group) == 0 ? 0 : errno;
    };
    const int error = co_await run_blocking(change);
    if (error != 0) {
        throw_errno(error,
                    fmt::format("cannot give {} to group {}", settings.path, settings.group));
    }
}

/// Opens the directory of a log that has segments. Where it was none when the log began, but is one
/// now, a link there is not followed: somebody has planted it.
task<directory> open_directory_of(const log_file_settings& settings, bool& is_link) {
    const std::string folder = directory_of(settings.path);
    const auto end = folder.find_last_not_of('/'); // a slash behind a link has it followed
    const std::string name = end == std::string::npos ? "/" : folder.substr(0, end + 1);
    result<file> opened =
        co_await as_result(file::open(name, {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW}));
    is_link = opened.error() == std::errc::too_many_symbolic_link_levels ||
              opened.error() == std::errc::not_a_directory;
    if (is_link) {
        opened = co_await as_result(file::open(name, {.flags = O_RDONLY | O_DIRECTORY}));
    }
    if (opened.error() == std::errc::operation_canceled) {
        throw cancelled{};
    }
    if (!opened) {
        throw std::system_error(opened.error(), fmt::format("cannot open {}", name));
    }
    if (is_link && !settings.directory_may_be_link) {
        throw_errno(ELOOP, fmt::format("cannot open {} as a log: its directory has become a "
                                       "symbolic link, which is not followed; name the directory "
                                       "itself, or begin the log anew",
                                       settings.path));
    }
    co_return directory(opened->release());
}

/// Opens the name itself. Of a log that has segments in its directory, out of which no link and no
/// race leads.
task<result<file>> open_in_place(const log_file_settings& settings, int flags, bool& through_link) {
    const std::string& path = settings.path;
    if (settings.has_segments && !makes(mistake::follow_planted_link)) {
        const auto slash = path.rfind('/');
        directory folder = co_await open_directory_of(settings, through_link);
        const open_at_options options{
            .flags = flags, .mode = settings.mode, .beneath = true, .no_symlinks = true};
        result<file> opened = co_await as_result(folder.open_file(path.substr(slash + 1), options));
        co_await folder.close();
        if (opened || opened.error() != std::errc::function_not_supported) {
            co_return std::move(opened);
        }
        // A kernel before 5.6.
    }
    co_return co_await as_result(file::open(path, {.flags = flags, .mode = settings.mode}));
}

/// Nothing where the name has changed meanwhile.
task<std::optional<opened_log>> open_once(const log_file_settings& settings) {
    const std::string& path = settings.path;
    bool is_new = settings.must_be_new;
    bool is_link = makes(mistake::follow_planted_link);
    bool is_in_link = false;
    const int first_flags = flags_always | (is_new    ? O_CREAT | O_EXCL
                                            : is_link ? O_CREAT
                                                      : O_NOFOLLOW);
    result<file> found = co_await open_in_place(settings, first_flags, is_in_link);
    if (!found && found.error() == std::errc::too_many_symbolic_link_levels) {
        if (!settings.may_be_link) {
            throw_errno(ELOOP, fmt::format("cannot open {} as a log: it is a symbolic link, which "
                                           "is not followed; name the file itself",
                                           path));
        }
        is_link = true;
        found = co_await as_result(
            file::open(path, {.flags = flags_always | O_CREAT, .mode = settings.mode}));
    } else if (!found && found.error() == std::errc::no_such_file_or_directory &&
               !settings.must_exist) {
        is_new = true;
        found = co_await open_in_place(settings, flags_always | O_CREAT | O_EXCL, is_in_link);
        if (!found && found.error() == std::errc::file_exists) {
            co_return std::nullopt;
        }
    }
    if (!found) {
        if (found.error() == std::errc::operation_canceled) {
            throw cancelled{};
        }
        throw std::system_error(found.error(), fmt::format("cannot open {} as a log", path));
    }
    file log = std::move(*found);
    if (is_new && settings.group != no_group) {
        co_await give_to_group(log, settings);
    }
    const file_status status = co_await log.stat();
    require_plain_file(status, path);
    if (!settings.shares_lock) {
        co_await lock_file(log, status, path);
    }
    // Before we had the lock its holder may have rotated the file.
    const auto named =
        co_await status_if_there(path, is_link ? at_symlink::follow : at_symlink::stay);
    if (!named || file_identity::of(*named) != file_identity::of(status)) {
        co_return std::nullopt;
    }
    opened_log opened(std::move(log), *named, is_link, is_in_link);
    opened.is_new = is_new;
    co_return std::move(opened);
}

} // namespace

void throw_errno(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

task<std::optional<file_status>> status_if_there(std::string path, at_symlink last) {
    try {
        co_return co_await status_of(std::move(path), last);
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::no_such_file_or_directory) {
            throw;
        }
    }
    co_return std::nullopt;
}

task<file> open_again(const log_file_settings& settings, file_identity same) {
    file again = co_await file::open(settings.path, {.flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK});
    if (file_identity::of(co_await again.stat()) != same) {
        throw_errno(ESTALE,
                    fmt::format("cannot open {} again: it is another file now", settings.path));
    }
    co_return again;
}

task<> sync_directory_of(const std::string& path) {
    if (makes(mistake::forget_directory_sync)) {
        co_return;
    }
    file directory = co_await file::open(directory_of(path), {.flags = O_RDONLY | O_DIRECTORY});
    co_await directory.sync(); // of names fdatasync(2) promises nothing
}

namespace {

task<> sync_names(const opened_log& opened, const log_file_settings& settings,
                  bool has_made_directories) {
    if (settings.sync_directory) {
        co_await sync_directory_of(settings.path);
    }
    // Who made the last of them, and no line, may have been killed before its sync, or does not
    // sync what he makes.
    if (!has_made_directories && opened.size == 0) {
        if (settings.make_directories) {
            co_await make_directories_of(settings);
        } else if (settings.has_segments && !settings.must_be_new) {
            co_await sync_directories_above(directory_of(settings.path));
        }
    }
}

/// Where that fails a file that was made for it is gone again: the name may be wanted back.
task<> sync_names_of(const opened_log& opened, const log_file_settings& settings,
                     bool has_made_directories) {
    std::exception_ptr failure;
    try {
        co_await sync_names(opened, settings, has_made_directories);
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) {
        co_return;
    }
    if (opened.is_new) {
        const auto named = co_await status_if_there(settings.path, at_symlink::stay);
        if (named && file_identity::of(*named) == opened.identity) {
            (void)co_await as_result(remove_file(settings.path));
        }
    }
    std::rethrow_exception(failure);
}

} // namespace

task<opened_log> open_log_file(const log_file_settings& settings) {
    bool has_made_directories = false;
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        bool make = false;
        try {
            std::optional<opened_log> opened = co_await open_once(settings);
            if (opened) {
                co_await sync_names_of(*opened, settings, has_made_directories);
                co_return std::move(*opened);
            }
        } catch (const std::system_error& error) {
            make = settings.make_directories && !has_made_directories &&
                   error.code() == std::errc::no_such_file_or_directory;
            if (!make) {
                if (std::string_view(error.what()).find(settings.path) != std::string_view::npos) {
                    throw;
                }
                throw std::system_error(error.code(),
                                        fmt::format("cannot open {} as a log", settings.path));
            }
        }
        if (make) {
            co_await make_directories_of(settings);
            has_made_directories = true;
        }
    }
    throw_errno(EBUSY, fmt::format("cannot open {} as a log: others rename and create it all the "
                                   "time",
                                   settings.path));
}

task<std::error_code> rename_to_free_name(std::string from, std::string to) {
    const auto renamed = co_await as_result(rename_file(from, to, when_taken::refuse));
    if (renamed || renamed.error() != std::errc::invalid_argument) {
        co_return renamed.error();
    }
    bool is_taken = false;
    try {
        is_taken = (co_await status_if_there(to, at_symlink::stay)).has_value();
    } catch (const std::system_error& error) {
        co_return error.code();
    }
    if (is_taken) {
        co_return std::make_error_code(std::errc::file_exists);
    }
    co_return (co_await as_result(rename_file(from, to))).error();
}

task<std::error_code> lock_soon(file& log) {
    const auto until = saturating_add(event_loop::current().now(), orphaned_lock_patience);
    std::error_code refused = log.try_lock();
    while (refused == std::errc::operation_would_block && event_loop::current().now() < until) {
        co_await sleep_for(lock_retry_every);
        refused = log.try_lock();
    }
    co_return refused;
}

task<std::error_code> unlock_and_close(file& log) {
    // A child process that was forked meanwhile has the file open too, and would keep the lock.
    log.unlock();
    const auto closed = co_await as_result(log.close());
    co_return closed.error();
}

} // namespace sapwood::detail
