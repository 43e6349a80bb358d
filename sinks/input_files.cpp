#include "input_files.hpp"

#include <sapwood/log_verifier.hpp>

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::detail {

namespace {

/// Where a process has no descriptor left, so many are given back: others want some.
constexpr std::size_t spared = 16;

[[noreturn]] void throw_errno_of(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

} // namespace

input_file::input_file(std::string path)
    : path_(std::move(path)),
      fd_(path_ == log_verifier::standard_input
              ? STDIN_FILENO
              : ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) {
        throw_errno_of(errno, fmt::format("cannot open {}", path_));
    }
    if (path_ == log_verifier::standard_input) {
        return;
    }
    is_ours_ = true; // also where standard input was closed, and this is descriptor 0

    struct ::stat status {};

    const int failed = ::fstat(fd_, &status) == 0 ? 0 : errno;
    if (failed != 0 || !S_ISREG(status.st_mode)) {
        ::close(fd_);
        is_ours_ = false;
        throw_errno_of(failed != 0 ? failed : EINVAL,
                       failed != 0 ? fmt::format("cannot open {}", path_)
                                   : fmt::format("{} is not a file; standard input is {}", path_,
                                                 log_verifier::standard_input));
    }
    bytes_ = static_cast<std::uint64_t>(status.st_size);
    (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

input_file::input_file(input_file&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(other.fd_),
      bytes_(other.bytes_),
      is_ours_(std::exchange(other.is_ours_, false)) {}

input_file::~input_file() {
    if (is_ours_) {
        ::close(fd_);
    }
}

bool input_file::is_locked() const noexcept {
    if (::flock(fd_, LOCK_SH | LOCK_NB) == 0) {
        ::flock(fd_, LOCK_UN);
        return false;
    }
    return errno == EWOULDBLOCK;
}

std::size_t input_file::read(char* to, std::size_t size) const {
    for (;;) {
        const ssize_t got = ::read(fd_, to, size);
        if (got >= 0) {
            return static_cast<std::size_t>(got);
        }
        if (errno != EINTR) {
            throw_errno_of(errno, fmt::format("cannot read {}", path_));
        }
    }
}

input_files::input_files(std::vector<std::string> paths)
    : paths_(std::move(paths)),
      held_(paths_.size()) {
    if (paths_.empty()) {
        return;
    }
    held_.back().emplace(paths_.back()); // the log, which is the first to get another name
    std::size_t opened = 0;
    try {
        while (opened + 1 < held_.size() && opened < held_max) {
            held_[opened].emplace(paths_[opened]);
            ++opened;
        }
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::too_many_files_open &&
            error.code() != std::errc::too_many_files_open_in_system) {
            throw;
        }
        for (std::size_t spare = 0; spare < spared && opened > 0; ++spare) {
            held_[--opened].reset();
        }
    }
}

std::uint64_t input_files::bytes() const noexcept {
    std::uint64_t all = 0;
    for (const auto& each : held_) {
        all += each ? each->bytes() : 0;
    }
    return all;
}

input_file input_files::take(std::size_t which) {
    if (!held_[which]) {
        return input_file(paths_[which]);
    }
    input_file taken = std::move(*held_[which]);
    held_[which].reset();
    return taken;
}

} // namespace sapwood::detail
