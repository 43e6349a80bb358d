#include "write_behind.hpp"

#include <sapwood/shield.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace sapwood::detail {

namespace {

/// What one operation may be given, a little more than is ever wanted.
constexpr std::uint64_t bytes_max = 1u << 30;

/// As large as they are, or more.
constexpr std::uint64_t folio_bytes = 2u << 20;

std::uint32_t size_of(write_behind::range of) noexcept {
    return static_cast<std::uint32_t>(of.end - of.begin);
}

task<std::error_code> write_back(file& of, write_behind::range fresh, write_behind::range old) {
    const auto begun = co_await as_result(of.begin_writeback(fresh.begin, size_of(fresh)));
    if (begun && old.begin < old.end) { // what the kernel keeps all the same is its own affair
        (void)co_await as_result(of.drop_cached(old.begin, size_of(old)));
    }
    co_return begun.error();
}

/// Said before anything was looked at.
bool is_refusal(std::error_code why) noexcept {
    return why == std::errc::function_not_supported || why == std::errc::operation_not_supported ||
           why == std::errc::operation_not_permitted || why == std::errc::invalid_argument;
}

} // namespace

task<> write_behind::go_on(file& of, std::uint64_t size, std::size_t bytes_min) {
    begun_ = std::min(begun_, size); // somebody has cut it
    dropped_ = std::min(dropped_, size);
    there_before_ = std::min(there_before_, size);
    if (running_ && !running_.done()) {
        co_return;
    }
    co_await take_result();
    const std::uint64_t bytes = std::min(size - begun_, bytes_max);
    if (is_refused_ || failure_ || bytes < std::max<std::size_t>(bytes_min, 1)) {
        co_return;
    }
    const range fresh{begun_, begun_ + bytes};
    const range old = to_drop(size);
    try {
        running_ = spawn(write_back(of, fresh, old), {.name = "write-back"});
    } catch (const std::bad_alloc&) {
        co_return;
    }
    running_from_ = fresh.begin;
    begun_ = fresh.end;
    dropped_ = std::max(dropped_, old.end);
}

/// Of nothing whose write-back is not over, for a failure of that is to be told. Where nothing is
/// to be dropped the range is empty.
write_behind::range write_behind::to_drop(std::uint64_t size) const noexcept {
    if (cached_bytes_max_ == 0 || size <= cached_bytes_max_) {
        return {0, 0};
    }
    // The kernel leaves what was on its way to the disk, and what is in a folio that is in two
    // ranges: each begins some way back, where there is little left and that costs little; but not
    // so far that one operation would not come up to what is new.
    const std::uint64_t back =
        std::min({dropped_ - there_before_, cached_bytes_max_ + folio_bytes, bytes_max / 2});
    const std::uint64_t begin = dropped_ - back;
    const std::uint64_t end = std::min(begun_, size - cached_bytes_max_);
    return {begin, end > dropped_ ? std::min(end, begin + bytes_max) : begin};
}

task<std::error_code> write_behind::end() {
    co_await take_result();
    co_return std::exchange(failure_, {});
}

task<> write_behind::take_result() {
    if (!running_) {
        co_return;
    }
    const auto shielded = co_await shield();
    const auto over = std::move(running_);
    std::error_code why;
    try {
        why = co_await over;
    } catch (const cancelled&) { // with the loop's end, before it had begun
    } catch (const std::bad_alloc&) {
        why = std::make_error_code(std::errc::not_enough_memory); // begun or not
    }
    if (is_refusal(why)) {
        is_refused_ = true;
    } else if (why == std::errc::operation_canceled ||
               why == std::errc::resource_unavailable_try_again) {
        begun_ = std::min(begun_, running_from_); // it was not begun
    } else if (why) {
        failure_ = why;
    }
}

} // namespace sapwood::detail
