#include "preallocation.hpp"

#include "mistakes.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace sapwood::detail {

namespace {

constexpr std::align_val_t block_alignment{preallocation::block_bytes};

/// Lines of more than this part of what is ahead fill it soon: they are given space, and are
/// themselves what is written there first.
constexpr std::size_t few_lines_part = 8;

/// A write that ends within a block begins at that block again; more often than this it does not.
constexpr int standstills_max = 16;

/// What is written ahead of lines.
alignas(preallocation::block_bytes) char zeros[256u << 10];

constexpr std::uint64_t block_floor(std::uint64_t bytes) noexcept {
    return bytes / preallocation::block_bytes * preallocation::block_bytes;
}

constexpr std::uint64_t block_ceiling(std::uint64_t bytes) noexcept {
    return block_floor(bytes + preallocation::block_bytes - 1);
}

/// There is no room, or not as much.
bool is_about_room(std::error_code why) noexcept {
    return why == std::errc::no_space_on_device || why == std::errc::file_too_large ||
           why.value() == EDQUOT;
}

/// Told before anything is done, or it would not be told.
bool is_refusal(std::error_code why) noexcept {
    return why == std::errc::operation_not_permitted ||
           why == std::errc::resource_unavailable_try_again || why == std::errc::invalid_argument ||
           why == std::errc::operation_not_supported;
}

} // namespace

void preallocation::freed::operator()(char* memory) const noexcept {
    ::operator delete[](memory, block_alignment);
}

preallocation::memory preallocation::blocks_of(std::size_t bytes) {
    return memory(static_cast<char*>(::operator new[](bytes, block_alignment)));
}

task<std::error_code> preallocation::begin(file& log, std::uint64_t size) {
    file_size_ = size;
    written_end_ = block_ceiling(size);
    take(2 * block_bytes, 0);
    block_before_ = blocks_of(block_bytes);
    const std::uint64_t block = block_floor(size);
    for (std::size_t filled = 0; filled < size - block;) {
        const auto got = co_await as_result(
            log.read_some({blocks_.get() + filled, size - block - filled}, {block + filled}));
        if (!got || *got == 0) {
            co_return got ? std::make_error_code(std::errc::io_error) : got.error();
        }
        filled += *got;
    }
    if (const std::error_code refused = log.change_flags(O_APPEND, O_DIRECT)) {
        co_return refused;
    }
    const outcome room = co_await make_room(log, size, 1);
    if (room.why == std::errc::invalid_argument || room.why == std::errc::operation_not_supported) {
        (void)log.change_flags(O_DIRECT, O_APPEND);
        co_return room.why;
    }
    co_return std::error_code(); // what else it is shows when there are lines
}

task<preallocation::outcome> preallocation::append(file& log, std::span<const char> lines,
                                                   std::uint64_t size, bool synced) {
    const outcome room = co_await make_room(log, size, lines.size());
    if (room.why) {
        co_return room;
    }
    const auto blocks = lay_out(lines, size);
    const std::uint64_t begin = block_floor(size);
    const bool is_lengthened = begin + blocks.size() == file_size_; // were it cut at this moment
    is_distrusted_ = is_lengthened;
    std::vector<std::uint64_t> begins; // of its parts, where writes are short
    const std::error_code failed =
        co_await write_blocks(log, blocks, begin, synced, is_lengthened ? &begins : nullptr);
    const std::uint64_t end = size + lines.size();
    if (is_lengthened) {
        bool is_there = true;
        for (std::size_t i = 0; i < begins.size() && is_there; ++i) {
            is_there = co_await has_line_before(log, std::min(begins[i], end));
        }
        is_distrusted_ = !is_there;
    }
    if (is_distrusted_) {
        co_return outcome{std::error_code(ESTALE, std::generic_category()), true};
    }
    if (failed) {
        // Of a write that was to be synced it is not known which of the two has failed.
        co_return outcome{failed, synced && !is_refusal(failed)};
    }
    std::memmove(blocks_.get(), blocks_.get() + (block_floor(end) - begin), end - block_floor(end));
    written_end_ = std::max(written_end_, begin + blocks.size());
    co_return outcome();
}

/// More memory for blocks, with the first `kept` bytes of what there is.
void preallocation::take(std::size_t bytes, std::size_t kept) {
    auto fresh = blocks_of(bytes);
    std::copy_n(blocks_.get(), kept, fresh.get());
    blocks_ = std::move(fresh);
    capacity_ = bytes;
}

/// The blocks from the one on in which the lines begin.
std::span<const char> preallocation::lay_out(std::span<const char> lines, std::uint64_t size) {
    const std::uint64_t begin = block_floor(size);
    const std::size_t before = size - begin;
    const std::size_t used = before + lines.size();
    const std::size_t all = std::max(block_ceiling(begin + used), stale_end_) - begin;
    if (all > capacity_) {
        take(std::max(2 * capacity_, all), before);
    }
    char* const to = blocks_.get();
    if (makes(mistake::forget_last_block)) {
        std::memset(to, 0, before);
    }
    std::memcpy(to + before, lines.data(), lines.size());
    std::memset(to + used, 0, all - used);
    stale_end_ = begin + all;
    return {to, all};
}

task<std::error_code> preallocation::write_blocks(file& log, std::span<const char> blocks,
                                                  std::uint64_t at, bool synced,
                                                  std::vector<std::uint64_t>* begins) {
    int standstills = 0;
    while (!blocks.empty()) {
        if (begins != nullptr && (begins->empty() || begins->back() != at)) {
            begins->push_back(at);
        }
        result<std::size_t> written = std::size_t{0};
        if (synced) {
            written = co_await as_result(log.write_some_synced(blocks, {at}));
        } else {
            written = co_await as_result(log.write_some(blocks, {at}));
        }
        if (!written) {
            co_return written.error();
        }
        if (makes(mistake::ignore_short_write)) {
            break;
        }
        const std::size_t whole = *written == blocks.size() ? *written : block_floor(*written);
        if (whole == 0 && ++standstills == standstills_max) {
            co_return std::make_error_code(std::errc::io_error);
        }
        blocks = blocks.subspan(whole);
        at += whole;
    }
    co_return std::error_code();
}

/// Has the blocks that `bytes` more bytes need, and, where these are few, zeros in them and in
/// those that come then.
task<preallocation::outcome> preallocation::make_room(file& log, std::uint64_t size,
                                                      std::size_t bytes) {
    if (is_distrusted_) {
        co_return outcome{std::error_code(ESTALE, std::generic_category()), true};
    }
    const std::uint64_t needed = block_ceiling(size + bytes);
    std::error_code refused;
    bool is_lengthened = false; // also where somebody has cut it at that moment
    if (needed > file_size_) {
        auto status = co_await as_result(log.stat());
        if (status && status->size != file_size_) {
            distrust();
            co_return outcome{std::error_code(ESTALE, std::generic_category()), true};
        }
        is_lengthened = true;
        distrust();
        refused = co_await allocate(log, needed);
    }
    if (!refused && needed > written_end_ && bytes <= ahead_ / few_lines_part) {
        const std::uint64_t end = std::min(file_size_, needed + zeros_bytes_max);
        if (end == file_size_) {
            is_lengthened = true;
            distrust();
        }
        const std::error_code failed = co_await write_zeros(log, end);
        if (failed && is_refusal(failed)) {
            refused = failed;
        } else { // what else fails costs time and no lines
            written_end_ = std::max(written_end_, end);
        }
    }
    if (is_lengthened) {
        is_distrusted_ = !(co_await has_line_before(log, size));
    }
    if (is_distrusted_) {
        co_return outcome{std::error_code(ESTALE, std::generic_category()), true};
    }
    co_return outcome{refused, false};
}

/// Whether lines go to where they should, before `end`: where somebody has cut them off, and the
/// file was made as long again, there are zeros.
task<bool> preallocation::has_line_before(file& log, std::uint64_t end) {
    if (end == 0 || stale_end_ == 0) { // or nothing was written since it was begun
        co_return true;
    }
    char* const block = block_before_.get();
    const std::uint64_t begin = block_floor(end - 1);
    const auto got = co_await as_result(log.read_some({block, block_bytes}, {begin}));
    co_return got&&* got > end - 1 - begin&& block[end - 1 - begin] != '\0';
}

task<std::error_code> preallocation::allocate(file& log, std::uint64_t needed) {
    std::error_code refused;
    for (const std::uint64_t end : {block_ceiling(needed + ahead_), needed}) {
        const auto done = co_await as_result(log.allocate(file_size_, end - file_size_));
        if (done) {
            file_size_ = end;
            co_return std::error_code();
        }
        refused = done.error();
        // ext4 has perhaps given a part of it, and made the file as much longer.
        (void)co_await as_result(log.truncate(file_size_));
        if (!is_about_room(refused)) {
            break;
        }
    }
    co_return refused;
}

task<std::error_code> preallocation::write_zeros(file& log, std::uint64_t end) {
    while (written_end_ < end) {
        const std::size_t size = std::min<std::uint64_t>(sizeof(zeros), end - written_end_);
        const std::error_code failed =
            co_await write_blocks(log, {zeros, size}, written_end_, false, nullptr);
        if (failed) {
            co_return failed;
        }
        written_end_ += size;
    }
    co_return std::error_code();
}

task<> preallocation::end(file& log, std::uint64_t size) {
    try {
        if (!is_distrusted_) {
            const std::uint64_t there = (co_await log.stat()).size;
            if (there == file_size_) {
                co_await log.truncate(size);
            }
        }
    } catch (const std::exception&) {
        // Zeros at the end are known to who opens it next.
    }
    (void)log.change_flags(O_DIRECT, O_APPEND);
}

} // namespace sapwood::detail
