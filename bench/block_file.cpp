#include "block_file.hpp"

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace bench {

block_file::block_file(const std::string& path)
    : fd_{open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)},
      block_{new char[block_bytes]} {
    if (fd_ < 0) {
        throw std::system_error{errno, std::generic_category(), "cannot open " + path};
    }
}

block_file::~block_file() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

void block_file::append(std::string_view text) {
    if (text.size() > block_bytes - used_) {
        flush();
    }
    std::memcpy(block_.get() + used_, text.data(), text.size());
    used_ += text.size();
}

void block_file::close() {
    flush();
    if (::close(fd_) != 0) {
        throw std::system_error{errno, std::generic_category(), "cannot close the file"};
    }
    fd_ = -1;
}

void block_file::flush() {
    std::size_t done = 0;
    while (done < used_) {
        const ssize_t written = ::write(fd_, block_.get() + done, used_ - done);
        if (written < 0 && errno != EINTR) {
            throw std::system_error{errno, std::generic_category(), "cannot write"};
        }
        done += written < 0 ? 0 : static_cast<std::size_t>(written);
    }
    used_ = 0;
}

} // namespace bench
