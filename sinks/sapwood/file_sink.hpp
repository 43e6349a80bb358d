// file_sink: the one owner of a log file's descriptor. Appends whole lines and nothing else: a
// short write is continued before anything else happens, and what a failed write left of a line is
// cut off again. One coroutine at a time may use it. Loop thread only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace sapwood {

struct file_sink_options {
    /// The log file. Created if it is not there; its directory must be. Borrowed for the call
    /// only. A view and not a string because gcc 12 destroys the members of an aggregate that is
    /// made inside a co_await expression twice.
    std::string_view path;

    /// Permissions of a file that is created, less the umask. Logs tell secrets: by default only
    /// its owner's.
    mode_t mode = 0600;
};

static_assert(std::is_trivially_destructible_v<file_sink_options>);

/// A write that failed. `bytes_kept` of it, whole lines, are in the file.
class write_error : public std::system_error {
  public:
    write_error(std::error_code code, const std::string& what, std::size_t kept)
        : std::system_error(code, what),
          bytes_kept(kept) {}

    const std::size_t bytes_kept;
};

class file_sink {
  public:
    /// Opens the log for appending and locks it. A torn last line, left by a writer that was
    /// killed, is moved to `<path>.torn`; see torn_bytes. Throws std::system_error, with the path
    /// and the reason: cannot be opened, is not a regular file, or has a writer already, which is
    /// named.
    [[nodiscard]] static task<file_sink> open(const file_sink_options& options);

    /// Appends `lines`, which end with a newline, and returns when the kernel has them all: they
    /// survive this process. Throws write_error. Not cancelled half-way: a request to stop is
    /// delivered at the caller's next wait.
    [[nodiscard]] task<> write(std::span<const char> lines);

    /// Returns when everything written survives the machine. Throws std::system_error, after which
    /// nothing written since the last success can be trusted to be on disk.
    [[nodiscard]] task<> datasync();

    /// Closes the file, which gives up the lock. The destructor does it too, but blocks.
    [[nodiscard]] task<> close();

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    /// The log of the parent process, in a forked child: the same open file, which both of them
    /// append to. The lock is the parent's. Throws std::system_error where `fd` cannot be doubled.
    [[nodiscard]] static file_sink share(int fd, std::string path);

    [[nodiscard]] int fd() const noexcept { return file_.fd(); }

    /// Where the file ends as far as this sink knows.
    [[nodiscard]] std::uint64_t end() const noexcept { return end_; }

    /// How many bytes of a torn last line were moved to `<path>.torn` by open.
    [[nodiscard]] std::uint64_t torn_bytes() const noexcept { return torn_bytes_; }

  private:
    static task<file_sink> open_path(std::string path, mode_t mode);

    file_sink(file opened, std::string path) noexcept
        : file_(std::move(opened)),
          path_(std::move(path)) {}

    task<> move_torn_tail(std::uint64_t size);
    task<> copy_tail(file& aside, std::uint64_t begin, std::uint64_t size);
    task<> cut_off_partial_line();
    void throw_cancelled_or(std::error_code error, const char* what) const;

    file file_;
    std::string path_;
    /// What a failed write left of a line at the end of the file and could not cut off.
    std::uint64_t partial_line_bytes_ = 0;
    std::uint64_t torn_bytes_ = 0;
    std::uint64_t end_ = 0;
    bool is_shared_ = false;
};

} // namespace sapwood
