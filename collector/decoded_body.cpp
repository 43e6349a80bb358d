#include "decoded_body.hpp"

#include <charconv>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <iterator>

namespace sapwood::collector {

namespace {

/// Up to so much memory is kept.
constexpr std::size_t usual_made_bytes = 256u << 10;
constexpr std::size_t usual_items = 4096;

} // namespace

void decoded_body::clear() noexcept {
    items_.clear();
    made_.clear();
    if (items_.capacity() > usual_items) {
        std::vector<item>().swap(items_);
    }
    if (made_.capacity() > usual_made_bytes) {
        std::string().swap(made_);
    }
    made_end_ = 0;
    status_ = 0;
    is_long_ = false;
    error_.clear();
}

json_item decoded_body::operator[](std::size_t index) const noexcept {
    const item& each = items_[index];
    return {each.importance,
            {each.sent != nullptr ? each.sent : made_.data() + each.begin, each.size}};
}

bool decoded_body::fail(unsigned status, std::string_view why) {
    if (status_ == 0) {
        status_ = status;
        error_ = why;
        items_.clear();
    }
    return false;
}

bool decoded_body::has_room(std::size_t record_bytes) {
    if (!is_well()) {
        return false;
    }
    if (items_.size() == limits.json.records_max) {
        return fail(413, fmt::format("the body has more than {} records", limits.json.records_max));
    }
    if (record_bytes > limits.json.record_bytes_max) {
        return fail(413, fmt::format("record {}: it is longer than {} bytes", items_.size() + 1,
                                     limits.json.record_bytes_max));
    }
    return true;
}

bool decoded_body::add(level importance, std::string_view json) {
    if (!has_room(json.size())) {
        return false;
    }
    items_.push_back({importance, json.data(), 0, json.size()});
    return true;
}

bool decoded_body::add_made(level importance) {
    const std::size_t size = made_.size() - made_end_;
    if (!has_room(size)) {
        return false;
    }
    if (is_well() && made_.size() > limits.made_bytes_here &&
        limits.made_bytes_here < limits.made_bytes_max) {
        is_long_ = true;
        return fail(413, "");
    }
    if (made_.size() > limits.made_bytes_max) {
        return fail(413, fmt::format("the body's records are longer than {} bytes, together with "
                                     "what they have in common",
                                     limits.made_bytes_max));
    }
    items_.push_back({importance, nullptr, made_end_, size});
    made_end_ = made_.size();
    return true;
}

void append_unix_time(std::int64_t nanoseconds, std::string& to) {
    // By numbers: chrono would multiply what it has rounded down, beyond the smallest of them.
    constexpr std::int64_t in_second = 1'000'000'000;
    const std::int64_t second = nanoseconds / in_second - (nanoseconds % in_second < 0 ? 1 : 0);
    const std::int64_t rest = nanoseconds % in_second;
    fmt::format_to(std::back_inserter(to), "{:%Y-%m-%dT%H:%M:%S}.{:09}Z",
                   fmt::gmtime(static_cast<std::time_t>(second)),
                   rest < 0 ? rest + in_second : rest);
}

bool parse_integer(std::string_view text, std::int64_t& number) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

} // namespace sapwood::collector
