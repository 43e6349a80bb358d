#include "inputs/input.hpp"

#include <sapwood/poll.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

using sapwood::as_result;
using sapwood::file;
using sapwood::task;

task<input> input::open(std::string name) {
    input opened;
    if (name == "-") {
        opened.descriptor_ = file(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
        if (!opened.descriptor_.is_open()) {
            throw std::system_error(errno, std::generic_category(), "cannot read standard input");
        }
    } else {
        opened.descriptor_ = co_await file::open(name, {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY});
    }
    opened.status_ = co_await opened.descriptor_.stat();
    const auto type = opened.status_.mode & S_IFMT;
    if (type == S_IFDIR) {
        throw std::system_error(EISDIR, std::generic_category(), "cannot read " + name);
    }
    opened.may_lack_writer_ = type == S_IFIFO && name != "-";
    // From now on reads may wait. Standard input is shared with whoever started us and stays as
    // it is; but for a file the flag means only that reads fail which need the disk.
    if (name != "-" || opened.status_.is_regular()) {
        const int fd = opened.descriptor_.fd();
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    }
    opened.name_ = std::move(name);
    co_return opened;
}

task<sapwood::result<std::size_t>> input::read_some(std::span<char> into) {
    if (may_lack_writer_) {
        // Before its first writer comes, a FIFO reads as if it were at its end.
        const auto ready = co_await as_result(sapwood::poll(descriptor_, POLLIN));
        if (!ready) {
            co_return ready.error();
        }
        may_lack_writer_ = false;
    }
    for (;;) {
        const auto got = co_await as_result(descriptor_.read_some(into));
        if (got.error() != std::errc::resource_unavailable_try_again) {
            co_return got;
        }
        const auto ready = co_await as_result(sapwood::poll(descriptor_, POLLIN));
        if (!ready) {
            co_return ready.error();
        }
    }
}

bool input::shares_stream_with(const input& other) const {
    return !status_.is_regular() && status_.inode == other.status_.inode &&
           status_.device == other.status_.device;
}

bool input::is_file(const std::string& path) const {
    struct ::stat mine {};

    struct ::stat that {};

    return ::fstat(descriptor_.fd(), &mine) == 0 && ::stat(path.c_str(), &that) == 0 &&
           mine.st_dev == that.st_dev && mine.st_ino == that.st_ino;
}

std::string conflict(const std::vector<input>& inputs, const std::string& log) {
    for (auto it = inputs.begin(); it != inputs.end(); ++it) {
        if (it->is_file(log)) {
            return fmt::format("input {} is the log itself", it->name());
        }
        const auto twin = std::find_if(inputs.begin(), it, [&](const input& earlier) {
            return it->shares_stream_with(earlier);
        });
        if (twin != it) {
            return fmt::format("inputs {} and {} are the same stream: it can be read only once",
                               twin->name(), it->name());
        }
    }
    return {};
}
