#include "log_gap_text.hpp"

#include "crash_text.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace sapwood::detail {

namespace {

constexpr std::string_view why_dropped[] = {
    "the thread's ring was full",
    "the oldest made room for newer ones",
    "the ring was full and they were below the level to keep",
    "there was no memory",
};
static_assert(std::size(why_dropped) == drop_reasons);

} // namespace

std::size_t put_gap_text(log_producer& from, std::uint64_t through, char* to) noexcept {
    const std::uint64_t first = from.sequence;
    const std::uint64_t count = through - first;
    crash_text text(to, gap_text_bytes_max);
    text.put_decimal(count);
    text.put(count > 1 ? " records of thread " : " record of thread ");
    text.put_decimal(from.thread.id);
    text.put(count > 1 ? " are missing here, numbers " : " is missing here, number ");
    text.put_decimal(first);
    if (count > 1) {
        text.put(" to ");
        text.put_decimal(through - 1);
    }
    std::uint64_t untold = count;
    for (std::size_t i = 0; i < drop_reasons; ++i) {
        // More may have been dropped meanwhile: that is the next gap's.
        const std::uint64_t drops =
            from.reader.drops(static_cast<drop_reason>(i)) - from.told_drops[i];
        const std::uint64_t told = std::min(drops, untold);
        if (told > 0) {
            text.put(untold == count ? ": " : ", ");
            text.put_decimal(told);
            text.put(" because ");
            text.put(why_dropped[i]);
        }
        from.told_drops[i] += told;
        untold -= told;
    }
    from.sequence = through;
    return text.size();
}

} // namespace sapwood::detail
