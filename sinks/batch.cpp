#include <sapwood/batch.hpp>

#include <sapwood/assert.hpp>
#include <sapwood/escape.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fmt/compile.h>
#include <fmt/format.h>

namespace sapwood {

namespace {

constexpr std::uint64_t nanoseconds_per_millisecond = 1'000'000;

char* put(char* to, std::string_view text) noexcept {
    std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

/// How a level stands in a line, with the space behind it.
struct level_text {
    char bytes[16];
    std::uint8_t size;
};

constexpr auto level_texts = [] {
    std::array<level_text, 7> table{}; // the last one stands for whatever is no level
    for (std::size_t i = 0; i < table.size(); ++i) {
        const std::string_view name = to_string(static_cast<level>(i));
        std::copy(name.begin(), name.end(), table[i].bytes);
        table[i].bytes[name.size()] = ' ';
        table[i].size = static_cast<std::uint8_t>(name.size() + 1);
    }
    return table;
}();

char* put_level(char* to, level importance) noexcept {
    const auto index = static_cast<std::size_t>(importance);
    const auto& text = level_texts[std::min(index, level_texts.size() - 1)];
    std::memcpy(to, text.bytes, sizeof(text.bytes)); // a fixed size needs no call
    return to + text.size;
}

std::size_t count_newlines(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace

batch::batch(std::size_t bytes_max, layout form, line_head* numbers)
    : bytes_max_(bytes_max),
      layout_(form),
      numbers_(numbers),
      memory_(new char[bytes_max + slack_bytes]),
      capacity_(bytes_max + slack_bytes) {}

void batch::grow(std::size_t bytes) {
    const std::size_t larger = std::max(bytes, capacity_ + capacity_ / 2);
    std::unique_ptr<char[]> memory(new char[larger]);
    std::memcpy(memory.get(), memory_.get(), capacity_);
    memory_ = std::move(memory);
    capacity_ = larger;
}

std::size_t batch::lines_within(std::size_t bytes) const noexcept {
    return bytes < size_ ? count_newlines({memory_.get(), bytes}) : lines_;
}

std::size_t batch::lines_of(const record& item) const noexcept {
    return layout_ == layout::verbatim ? 1 + count_newlines(item.message()) : 1;
}

void batch::clear() noexcept {
    const std::size_t usual = bytes_max_ + slack_bytes;
    if (capacity_ > usual) {
        if (auto* const smaller = new (std::nothrow) char[usual]) {
            memory_.reset(smaller);
            capacity_ = usual;
        }
    }
    size_ = 0;
    records_ = 0;
    lines_ = 0;
}

void batch::render_time(record::time_point when) noexcept {
    using namespace std::chrono;
    // Nothing is before the first whole millisecond that there is; and a day's begin may be, so
    // days are counted in milliseconds, which reach further.
    const auto moment =
        floor<milliseconds>(std::max(when, record::time_point::min() + nanoseconds(1'000'000)));
    millisecond_ = moment;
    const auto day = floor<days>(moment);
    const year_month_day date(day);
    const hh_mm_ss time(moment - day);
    fmt::format_to_n(time_text_, sizeof(time_text_),
                     FMT_COMPILE("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03} "), int(date.year()),
                     unsigned(date.month()), unsigned(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

/// What stands before the message of a line that is not verbatim.
char* batch::put_head(char* to, record::time_point when, std::uint32_t producer,
                      std::uint64_t sequence, level importance) noexcept {
    const auto since = static_cast<std::uint64_t>(when.time_since_epoch().count()) -
                       static_cast<std::uint64_t>(millisecond_.time_since_epoch().count());
    if (since >= nanoseconds_per_millisecond) [[unlikely]] {
        render_time(when);
    }
    if (layout_ == layout::numbered) {
        to += numbered_line::head_bytes;
    }
    std::memcpy(to, time_text_, sizeof(time_text_));
    to = detail::decimal(producer).put(to + sizeof(time_text_));
    if (sequence != 0 && layout_ == layout::numbered) {
        *to++ = '#';
        to = detail::decimal(sequence).put(to);
    }
    *to++ = ' ';
    return put_level(to, importance);
}

void batch::render(const record& item) {
    char* to = memory_.get() + size_;
    if (layout_ != layout::verbatim) {
        to = put_head(to, item.when(), item.producer(), item.sequence(), item.importance());
        if (!item.is_known_plain() && !is_plain(item.message())) [[unlikely]] {
            render_escaped(to, item.message());
            return;
        }
    } else {
        lines_ += count_newlines(item.message());
    }
    end_line(item.copy_message(to));
}

void batch::render(const record_view& item) noexcept {
    char* to = memory_.get() + size_;
    if (layout_ != layout::verbatim) {
        to = put_head(to, item.when, item.producer, 0, item.importance);
    }
    end_line(item.copy_message(to));
}

void batch::render_escaped(char* to, std::string_view message) {
    std::string escaped;
    escape(message, escaped);
    const auto head = static_cast<std::size_t>(to - memory_.get());
    if (head + escaped.size() + 1 > capacity_) {
        grow(head + escaped.size() + 1);
    }
    end_line(put(memory_.get() + head, escaped));
    SAPWOOD_ASSERT(size_ <= capacity_, "a batch was written past the end of its memory");
}

/// The record's text ends at `end`.
void batch::end_line(char* end) noexcept {
    if (numbers_ != nullptr) {
        if (layout_ == layout::numbered) {
            char* const line = memory_.get() + size_;
            numbers_->put(line, static_cast<std::size_t>(end - line));
        }
        numbers_->skip();
    }
    *end++ = '\n';
    ++lines_;
    size_ = static_cast<std::size_t>(end - memory_.get());
}

void batch::mark() noexcept {
    if (layout_ == layout::numbered && lines_ > 0) {
        memory_[numbered_line::mark_at] = numbered_line::mark;
    }
}

} // namespace sapwood
