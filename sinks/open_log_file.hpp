// How a log file is opened: created by its owner only, or found to be a plain file with one name,
// then locked, so that it has one writer; and that it still has its name when all that is done. The
// same when a log begins, when it is opened anew and when it is rotated. Loop thread only.
#pragma once

#include <sapwood/directory.hpp>
#include <sapwood/file.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <system_error>
#include <utility>

namespace sapwood::detail {

inline constexpr gid_t no_group = static_cast<gid_t>(-1);

/// Names a file: which one it is, whatever it is called.
struct file_identity {
    std::uint64_t inode = 0;
    std::uint64_t device = 0;

    [[nodiscard]] static file_identity of(const file_status& status) noexcept {
        return {status.inode, status.device};
    }

    friend bool operator==(const file_identity&, const file_identity&) = default;
};

/// What a log file is to be. A class for gcc 12, see file_sink_options.
class log_file_settings {
  public:
    explicit log_file_settings(std::string its_path)
        : path(std::move(its_path)),
          torn_path(path + ".torn") {}

    std::string path;
    /// Where what is torn is moved to, also while a file of this log has another name.
    std::string torn_path;
    mode_t mode = 0600;
    gid_t group = no_group;
    bool make_directories = false;
    mode_t directory_mode = 0700;
    /// The path may lead to the file by a symbolic link at its end.
    bool may_be_link = true;
    /// The same of the directory of a log that has segments.
    bool directory_may_be_link = true;
    /// Somebody else holds the lock for us: the process that we were forked from.
    bool shares_lock = false;
    /// It must not be there yet.
    bool must_be_new = false;
    /// It must be there.
    bool must_exist = false;
    /// See file_sink_options. What is numbered has segments.
    bool numbered = false;
    bool has_segments = false;
    std::size_t preallocated_bytes = 0;
    std::uint64_t cached_bytes_max = 0;
    /// The directory is synced, so that a new name survives the machine.
    bool sync_directory = true;
};

class opened_log {
  public:
    opened_log(file its_descriptor, const file_status& its_status, bool found_by_link,
               bool found_in_link) noexcept
        : descriptor(std::move(its_descriptor)),
          identity(file_identity::of(its_status)),
          size(its_status.size),
          modified(its_status.modified),
          is_link(found_by_link),
          is_in_link(found_in_link) {}

    file descriptor;
    file_identity identity;
    std::uint64_t size;
    std::chrono::system_clock::time_point modified;
    bool is_link;
    /// Its directory is one, of a log that has segments.
    bool is_in_link;
    /// It was not there.
    bool is_new = false;
};

/// Throws std::system_error, with the path and what is wrong with it.
[[nodiscard]] task<opened_log> open_log_file(const log_file_settings& settings);

/// Nothing where nothing has this path.
[[nodiscard]] task<std::optional<file_status>> status_if_there(std::string path, at_symlink last);

/// The file of that name once more, to be written at any place; it must be this one.
[[nodiscard]] task<file> open_again(const log_file_settings& settings, file_identity same);

/// Makes a name that was created or changed survive the machine.
[[nodiscard]] task<> sync_directory_of(const std::string& path);

/// EEXIST where `to` is taken, also on file systems that cannot see to that in one step: nobody
/// else uses such names then.
[[nodiscard]] task<std::error_code> rename_to_free_name(std::string from, std::string to);

/// Locks it against other writers, and waits a moment for who holds the lock: the kernel lets go of
/// a killed process's a moment after the process is gone. What try_lock() returned last.
[[nodiscard]] task<std::error_code> lock_soon(file& log);

/// Gives up the lock, also where a child that was forked meanwhile has the file open, and closes.
[[nodiscard]] task<std::error_code> unlock_and_close(file& log);

[[noreturn]] void throw_errno(int error, const std::string& what);

} // namespace sapwood::detail
