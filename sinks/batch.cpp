#include <sapwood/batch.hpp>

#include <sapwood/escape.hpp>

#include <algorithm>
#include <cstring>
#include <fmt/chrono.h>
#include <fmt/format.h>

namespace sapwood {

namespace {

char* put(char* to, std::string_view text) noexcept {
    std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

char* put_number(char* to, std::uint32_t number) noexcept {
    return detail::quick_argument<std::uint32_t>(number).put(to);
}

std::size_t count_newlines(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace

batch::batch(std::size_t bytes_max, layout form)
    : bytes_max_(bytes_max),
      layout_(form),
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

char* batch::render_time(char* to, record::time_point when) noexcept {
    using namespace std::chrono;
    constexpr nanoseconds one_second = seconds(1);
    nanoseconds into_second = when - second_;
    if (into_second < nanoseconds(0) || into_second >= one_second) [[unlikely]] {
        second_ = floor<seconds>(when);
        into_second = when - second_;
        const auto day = floor<days>(second_);
        const year_month_day date(day);
        const hh_mm_ss time(floor<seconds>(second_ - day));
        fmt::format_to_n(second_text_, sizeof(second_text_), "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.",
                         int(date.year()), unsigned(date.month()), unsigned(date.day()),
                         time.hours().count(), time.minutes().count(), time.seconds().count());
    }
    std::memcpy(to, second_text_, sizeof(second_text_));
    to += sizeof(second_text_);
    const auto millisecond = static_cast<unsigned>(into_second / milliseconds(1));
    to[0] = static_cast<char>('0' + millisecond / 100);
    to[1] = static_cast<char>('0' + millisecond / 10 % 10);
    to[2] = static_cast<char>('0' + millisecond % 10);
    return to + 3;
}

void batch::render(const record& item) {
    char* to = memory_.get() + size_;
    std::size_t lines = 1;
    if (layout_ == layout::plain) {
        to = render_time(to, item.when());
        *to++ = ' ';
        to = put_number(to, item.producer());
        *to++ = ' ';
        to = put(to, to_string(item.importance()));
        *to++ = ' ';
        if (!item.is_known_plain() && !is_plain(item.message())) [[unlikely]] {
            render_escaped(to, item.message());
            return;
        }
    } else {
        lines += count_newlines(item.message());
    }
    to = item.copy_message(to);
    *to++ = '\n';
    lines_ += lines;
    size_ = static_cast<std::size_t>(to - memory_.get());
}

void batch::render_escaped(char* to, std::string_view message) {
    std::string escaped;
    escape(message, escaped);
    const auto head = static_cast<std::size_t>(to - memory_.get());
    if (head + escaped.size() + 1 > capacity_) {
        grow(head + escaped.size() + 1);
    }
    to = put(memory_.get() + head, escaped);
    *to++ = '\n';
    ++lines_;
    size_ = static_cast<std::size_t>(to - memory_.get());
}

} // namespace sapwood
