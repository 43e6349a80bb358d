#include "followed_file.hpp"

#include "complaint.hpp"
#include "log_line.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::tools {

namespace {

constexpr std::size_t block_bytes = 256u << 10;
constexpr std::size_t compared_bytes = 64;

/// Space for lines to come, and pages that are not there yet, end at a multiple of this.
constexpr std::uint64_t page_bytes = 4096;

/// A reader of pages may, for a moment, see a later one of two that are written and not the
/// earlier.
constexpr auto zeros_are_believed_after = std::chrono::seconds(1);

} // namespace

followed_file::followed_file(std::string name, int fd, std::uint64_t offset)
    : name_(std::move(name)),
      fd_(fd),
      offset_(offset) {
    struct ::stat status {};

    if (::fstat(fd_, &status) == 0) {
        device_ = status.st_dev;
        inode_ = status.st_ino;
    }
    char before[compared_bytes];
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(offset_, compared_bytes));
    before_.assign(before, read(offset_ - size, before, size));
}

followed_file::followed_file(log_file packed) : name_(packed.path), packed_(std::move(packed)) {}

followed_file::~followed_file() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

std::uint64_t followed_file::size() const noexcept {
    struct ::stat status {};

    return fd_ >= 0 && ::fstat(fd_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

std::size_t followed_file::read(std::uint64_t at, char* to, std::size_t size) const {
    for (;;) {
        const ssize_t got = ::pread(fd_, to, size, static_cast<off_t>(at));
        if (got >= 0) {
            return static_cast<std::size_t>(got);
        }
        if (errno != EINTR) {
            throw std::system_error(errno, std::generic_category(),
                                    fmt::format("cannot read {}", name_));
        }
    }
}

bool followed_file::is_unchanged_before(std::uint64_t offset, std::string_view text) const {
    char now[compared_bytes];
    const std::size_t size = std::min(text.size(), compared_bytes);
    return read(offset - size, now, size) == size &&
           std::string_view(now, size) == text.substr(text.size() - size);
}

/// Of what is pending; a file that may have grown again.
bool followed_file::is_cut(std::uint64_t size) const {
    return size < offset_ + pending_bytes_ ||
           !is_unchanged_before(offset_ + pending_bytes_, {pending_.data(), pending_bytes_});
}

/// Recovery takes a torn line away, and copytruncate everything.
void followed_file::notice_cut(std::uint64_t size) {
    if (is_cut(size)) {
        pending_bytes_ = 0;
    }
    if (size < offset_ || !is_unchanged_before(offset_, before_)) {
        complain_as("tail", name_ + " was cut; goes on at its begin");
        offset_ = 0;
        before_.clear();
    }
}

/// Where the zeros at `from` end, at `end` at the latest.
std::uint64_t followed_file::zeros_end(std::uint64_t from, std::uint64_t end) const {
    const std::unique_ptr<char[]> block(new char[block_bytes]);
    while (from < end) {
        const auto size =
            static_cast<std::size_t>(std::min<std::uint64_t>(end - from, block_bytes));
        const std::string_view text(block.get(), read(from, block.get(), size));
        const std::size_t other = text.find_first_not_of('\0');
        if (other != text.npos) {
            return from + other;
        }
        if (text.empty()) {
            break;
        }
        from += text.size();
    }
    return end;
}

bool followed_file::may_skip_zeros(std::uint64_t at) {
    const clock::time_point now = clock::now();
    if (zeros_at_ != at) {
        zeros_at_ = at;
        zeros_since_ = now;
    }
    return now - zeros_since_ >= zeros_are_believed_after;
}

/// The first zeros of `text`, which stands at `at`, that are space for lines to come, a page that
/// is not there yet, or a hole that somebody has left who cut the file. Others are a line's own:
/// they are to make no two of it.
followed_file::space followed_file::find_space(std::string_view text, std::uint64_t at,
                                               std::uint64_t size) const {
    for (std::size_t zero = text.find('\0'); zero != text.npos;) {
        const std::uint64_t begin = at + zero;
        std::size_t other = text.find_first_not_of('\0', zero);
        const std::uint64_t end =
            other == text.npos ? zeros_end(at + text.size(), size) : at + other;
        const bool begins_line = zero == 0 ? pending_bytes_ == 0 : text[zero - 1] == '\n';
        if (begins_line || end == size || end % page_bytes == 0) {
            return {begin, end};
        }
        zero = other == text.npos ? other : text.find('\0', other);
    }
    return {at + text.size(), at + text.size()};
}

void followed_file::show_new(std::uint64_t end, line_view& view) {
    is_read_ = false;
    if (fd_ < 0) {
        show_packed(view);
        is_read_ = true;
        return;
    }
    const std::uint64_t size = this->size();
    notice_cut(size);
    end = std::min(end, size);
    for (std::uint64_t at = offset_ + pending_bytes_; at < end;) {
        if (pending_.size() < pending_bytes_ + block_bytes + line_padding) {
            pending_.resize(2 * pending_bytes_ + block_bytes + line_padding);
        }
        char* const to = pending_.data() + pending_bytes_;
        const auto wanted =
            static_cast<std::size_t>(std::min<std::uint64_t>(end - at, block_bytes));
        const std::string_view text(to, read(at, to, wanted));
        if (text.empty() || is_cut(size)) {
            return; // in this moment: the next look notices
        }
        const space zeros = find_space(text, at, size);
        take(text.substr(0, zeros.begin - at), view);
        if (zeros.begin != zeros.end) {
            is_read_ = zeros.end == size;
            if (is_read_ || !may_skip_zeros(zeros.begin)) {
                return;
            }
            show_rest(view);
            offset_ = at = zeros.end;
            before_.clear();
            continue;
        }
        if (pending_bytes_ > block_reader::line_bytes_max) {
            show_rest(view);
        }
        at = zeros.end;
    }
    is_read_ = end == size;
}

/// Shows what is whole of what is pending and of `text`, which stands behind it.
void followed_file::take(std::string_view text, line_view& view) {
    std::string_view lines(pending_.data(), pending_bytes_ + text.size());
    const std::size_t last = text.rfind('\n');
    if (last == text.npos) {
        pending_bytes_ = lines.size();
        return;
    }
    lines = lines.substr(0, pending_bytes_ + last + 1);
    const std::string_view rest = text.substr(last + 1);
    offset_ += lines.size();
    before_.append(lines.substr(lines.size() - std::min(lines.size(), compared_bytes)));
    before_.erase(0, before_.size() - std::min(before_.size(), compared_bytes));
    while (!lines.empty()) {
        view.show(take_line(lines));
    }
    pending_bytes_ = rest.size();
    std::memmove(pending_.data(), rest.data(), rest.size());
}

void followed_file::show_rest(line_view& view) {
    if (pending_bytes_ > 0) {
        view.show({pending_.data(), pending_bytes_});
        offset_ += pending_bytes_;
        before_.clear();
        pending_bytes_ = 0;
    }
}

void followed_file::show_packed(line_view& view) {
    if (packed_.path.empty()) {
        return;
    }
    try {
        block_reader reader(std::exchange(packed_, {}));
        for (std::string_view block = reader.next(); !block.empty(); block = reader.next()) {
            while (!block.empty()) {
                view.show(take_line(block));
            }
        }
    } catch (const std::system_error& error) {
        if (error.code() == std::errc::broken_pipe) {
            throw;
        }
        complain_as("tail", error.what());
    }
}

} // namespace sapwood::tools
