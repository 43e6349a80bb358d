#include <sapwood/path_op.hpp>

#include <sapwood/file.hpp>
#include <sapwood/fmt_library.hpp>

#include <cstdio>
#include <fcntl.h>
#include <liburing.h>

namespace sapwood {

namespace detail {

void path_call::prepare(io_uring_sqe& sqe, int at) const noexcept {
    const int to = second_at != nullptr ? second_at->fd() : at;
    switch (what) {
    case kind::make_directory:
        ::io_uring_prep_mkdirat(&sqe, at, path.c_str(), mode);
        break;
    case kind::remove:
        ::io_uring_prep_unlinkat(&sqe, at, path.c_str(), 0);
        break;
    case kind::remove_directory:
        ::io_uring_prep_unlinkat(&sqe, at, path.c_str(), AT_REMOVEDIR);
        break;
    case kind::rename:
        ::io_uring_prep_renameat(&sqe, at, path.c_str(), to, second.c_str(),
                                 taken == when_taken::refuse ? RENAME_NOREPLACE : 0u);
        break;
    case kind::link:
        ::io_uring_prep_linkat(&sqe, at, path.c_str(), to, second.c_str(), 0);
        break;
    case kind::symlink:
        ::io_uring_prep_symlinkat(&sqe, second.c_str(), at, path.c_str());
        break;
    }
}

void path_call::check() const {
    require_no_nul(path);
    require_no_nul(second);
}

std::string path_call::describe() const {
    switch (what) {
    case kind::make_directory:
        return fmt::format("cannot make the directory {}", path);
    case kind::remove:
        return fmt::format("cannot remove {}", path);
    case kind::remove_directory:
        return fmt::format("cannot remove the directory {}", path);
    case kind::rename:
        return fmt::format("cannot rename {} to {}", path, second);
    case kind::link:
        return fmt::format("cannot link {} as {}", path, second);
    case kind::symlink:
        return fmt::format("cannot make the symbolic link {} to {}", path, second);
    }
    return {};
}

void path_op::prepare(io_uring_sqe& sqe) noexcept {
    call_.prepare(sqe, AT_FDCWD);
}

} // namespace detail

namespace {

using kind = detail::path_call::kind;

} // namespace

detail::path_op rename_file(std::string from, std::string to, when_taken taken) {
    return detail::path_op(
        {.what = kind::rename, .path = std::move(from), .second = std::move(to), .taken = taken});
}

detail::path_op make_directory(std::string path, mode_t mode) {
    return detail::path_op({.what = kind::make_directory, .path = std::move(path), .mode = mode});
}

detail::path_op remove_file(std::string path) {
    return detail::path_op({.what = kind::remove, .path = std::move(path)});
}

detail::path_op remove_directory(std::string path) {
    return detail::path_op({.what = kind::remove_directory, .path = std::move(path)});
}

detail::path_op link_file(std::string path, std::string name) {
    return detail::path_op(
        {.what = kind::link, .path = std::move(path), .second = std::move(name)});
}

detail::path_op make_symlink(std::string target, std::string name) {
    return detail::path_op(
        {.what = kind::symlink, .path = std::move(name), .second = std::move(target)});
}

} // namespace sapwood
