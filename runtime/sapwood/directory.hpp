// directory: an open directory, and files by their paths from there, as openat(2) and its family:
// the directory stays the same one whoever renames it. And what it holds, entry by entry. Loop
// thread only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/path_op.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace sapwood {

namespace detail {

class open_at_op;
class stat_at_op;

} // namespace detail

struct open_at_options {
    /// As open_options.
    int flags = O_RDONLY;
    mode_t mode = 0600;
    /// The path may not lead out of the directory, be it by "..", by a symbolic link or because it
    /// is absolute (openat2, RESOLVE_BENEATH): EXDEV. For names that somebody else has chosen.
    bool beneath = false;
    /// With `beneath`: no part of the path may be a symbolic link, wherever it leads to
    /// (RESOLVE_NO_SYMLINKS): ELOOP.
    bool no_symlinks = false;
};

/// Whether the last part of a path that is a symbolic link stands for itself.
enum class at_symlink : std::uint8_t { follow, stay };

/// Owns a descriptor. Paths are from it, but absolute ones.
class directory : public owned_fd {
  public:
    using owned_fd::owned_fd;

    /// Throws std::system_error that names `path`.
    [[nodiscard]] static task<directory> open(std::string path);

    [[nodiscard]] task<directory> open_directory(std::string path);

    /// As file::open.
    [[nodiscard]] detail::open_at_op open_file(std::string path, open_at_options options = {});

    [[nodiscard]] detail::stat_at_op status_of(std::string path,
                                               at_symlink last = at_symlink::follow);

    // As the functions of path_op.hpp.
    [[nodiscard]] detail::path_at_op make_directory(std::string path, mode_t mode = 0700);
    [[nodiscard]] detail::path_at_op remove_file(std::string path);
    [[nodiscard]] detail::path_at_op remove_directory(std::string path);
    [[nodiscard]] detail::path_at_op rename(std::string from, std::string to,
                                            when_taken taken = when_taken::replace);
    /// Into another directory, which stays open until then.
    [[nodiscard]] detail::path_at_op rename(std::string from, const directory& into, std::string to,
                                            when_taken taken = when_taken::replace);
    [[nodiscard]] detail::path_at_op link(std::string path, std::string name);
    [[nodiscard]] detail::path_at_op make_symlink(std::string target, std::string name);

    /// Makes the names in it survive the machine: what was made, removed and renamed.
    [[nodiscard]] detail::sync_op sync() noexcept;
};

/// The status of what has this path.
[[nodiscard]] task<file_status> status_of(std::string path, at_symlink last = at_symlink::follow);

struct directory_entry {
    enum class kind : std::uint8_t { unknown, file, directory, symlink, other };

    // A constructor, so that gcc 12 does not take it for an aggregate; see first_of.
    directory_entry(std::string its_name, kind its_type, std::uint64_t its_inode)
        : name(std::move(its_name)),
          type(its_type),
          inode(its_inode) {}

    std::string name;
    /// `unknown` where the file system does not say: ask status_of.
    kind type;
    std::uint64_t inode;
};

/// Reads a directory, in the order in which the file system has it. The kernel's ring has no
/// operation for that: a thread of the common blocking pool reads 32 KiB of entries at a time.
///
///     sapwood::directory_reader reader(folder);
///     while (const auto entry = co_await reader.next()) { ... entry->name ... }
class directory_reader {
  public:
    /// `of` must be open until the first `next` has returned; then the reader has its own
    /// descriptor, and other readers do not disturb it.
    explicit directory_reader(directory& of) noexcept : of_(&of) {}

    /// The next entry but "." and ".."; nothing at the end. What is made or removed meanwhile may
    /// be there or not. Throws std::system_error, and `cancelled` having lost nothing: the next
    /// call goes on. One task at a time.
    [[nodiscard]] task<std::optional<directory_entry>> next();

  private:
    directory* of_;
    directory own_;
    std::unique_ptr<std::byte[]> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

namespace detail {

class [[nodiscard]] open_at_op final : public fd_op<open_at_op, file> {
  public:
    open_at_op(owned_fd& at, std::string path, open_at_options options);
    ~open_at_op();

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    file convert(std::int32_t fd) const noexcept { return file(fd); }

    std::string describe() const override;

  private:
    std::string path_;
    open_at_options options_;
    /// The kernel's open_how: flags, mode, resolve.
    std::uint64_t how_[3] = {};
};

class [[nodiscard]] stat_at_op final : public fd_op<stat_at_op, file_status> {
  public:
    stat_at_op(owned_fd& at, std::string path, at_symlink last);
    ~stat_at_op();

    void prepare(io_uring_sqe& sqe) noexcept override;

    file_status convert(std::int32_t) const noexcept { return detail::status_of(*raw_); }

    std::string describe() const override;

  private:
    std::string path_;
    at_symlink last_;
    std::unique_ptr<struct ::statx> raw_;
};

} // namespace detail

} // namespace sapwood
