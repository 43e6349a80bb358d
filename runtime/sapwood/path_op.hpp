// Operations on what has a name: made, removed, renamed, linked. By a path from where the process
// is (path_op), or from a directory that is open (path_at_op). Loop thread only.
#pragma once

#include <sapwood/op.hpp>
#include <sapwood/owned_fd.hpp>

#include <cstdint>
#include <string>
#include <sys/types.h>

namespace sapwood {

/// What becomes of a file that has the new name already.
enum class when_taken : std::uint8_t {
    /// The new one takes its place, in one step: there is never none.
    replace,
    /// EEXIST. Not every network file system can.
    refuse,
};

namespace detail {

/// One of the calls; the operation that carries it out keeps it.
struct path_call {
    enum class kind : std::uint8_t {
        make_directory,
        remove,
        remove_directory,
        rename,
        link,
        symlink
    };

    kind what;
    std::string path;
    /// The new name; of a symlink, what it points to.
    std::string second = {};
    /// Where the new name is; null for where `path` is.
    const owned_fd* second_at = nullptr;
    mode_t mode = 0;
    when_taken taken = when_taken::replace;

    /// Throws std::system_error where a path contains a NUL.
    void check() const;
    void prepare(io_uring_sqe& sqe, int at) const noexcept;
    [[nodiscard]] std::string describe() const;
};

class [[nodiscard]] path_op final : public op<path_op, void> {
  public:
    explicit path_op(path_call call) : call_(std::move(call)) { call_.check(); }

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override { return call_.describe(); }

  private:
    path_call call_;
};

class [[nodiscard]] path_at_op final : public fd_op<path_at_op, void> {
  public:
    path_at_op(owned_fd& at, path_call call) : fd_op(at), call_(std::move(call)) { call_.check(); }

    void prepare(io_uring_sqe& sqe) noexcept override { call_.prepare(sqe, fd()); }

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override { return call_.describe(); }

  private:
    path_call call_;
};

} // namespace detail

/// Renames a file or a directory. Both names must be on one file system. A name is durable when its
/// directory has been synced.
[[nodiscard]] detail::path_op rename_file(std::string from, std::string to,
                                          when_taken taken = when_taken::replace);

/// Makes an empty directory; `mode` is its permissions, less the umask.
[[nodiscard]] detail::path_op make_directory(std::string path, mode_t mode = 0700);

/// Removes the name of a file; not of a directory.
[[nodiscard]] detail::path_op remove_file(std::string path);

/// Removes a directory, which must be empty.
[[nodiscard]] detail::path_op remove_directory(std::string path);

/// Gives the file `path` another name, on the same file system. EEXIST where there is one.
[[nodiscard]] detail::path_op link_file(std::string path, std::string name);

/// Makes `name` point to `target`, whether that is there or not.
[[nodiscard]] detail::path_op make_symlink(std::string target, std::string name);

} // namespace sapwood
