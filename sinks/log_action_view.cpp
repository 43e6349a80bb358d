#include <sapwood/log_action_view.hpp>

#include <sapwood/decimal.hpp>
#include <sapwood/log_place.hpp>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace sapwood::detail {

namespace {

template <class Number>
void read_number(std::string_view bytes, Number& to) noexcept {
    if (bytes.size() == sizeof(to)) {
        std::memcpy(&to, bytes.data(), sizeof(to));
    }
}

} // namespace

void log_action_view::take_other(const log_field_view& field) noexcept {
    switch (field.kind) {
    case log_field_kind::begun:
        take_place(field.value);
        status = "started";
        return;
    case log_field_kind::succeeded:
        if (field.value.size() >= log_place::times_bytes) {
            std::memcpy(&duration_ns, field.value.data(), sizeof(duration_ns));
            std::memcpy(&children, field.value.data() + sizeof(duration_ns), sizeof(children));
            take_place(field.value.substr(log_place::times_bytes));
            status = "succeeded";
        }
        return;
    case log_field_kind::status:
        status = field.value;
        return;
    case log_field_kind::exception:
        exception = field.value;
        return;
    case log_field_kind::reason:
        reason = field.value;
        return;
    case log_field_kind::source:
        source = field.value;
        return;
    case log_field_kind::duration:
        read_number(field.value, duration_ns);
        return;
    case log_field_kind::children:
        read_number(field.value, children);
        return;
    default:
        return;
    }
}

log_action_view log_action_view::of(std::string_view fields) noexcept {
    log_action_view read;
    for_each_field(fields, [&](const log_field_view& field) { read.take(field); });
    return read;
}

std::string_view put_seconds(std::int64_t ns, char* to) noexcept {
    const auto all = static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0));
    auto rest = static_cast<std::uint32_t>(all);
    char* at = to;
    if (all < 1'000'000'000) [[likely]] {
        *at++ = '0';
    } else {
        at = put_decimal(to, all / 1'000'000'000);
        rest = static_cast<std::uint32_t>(all % 1'000'000'000);
    }
    *at++ = '.';
    *at++ = static_cast<char>('0' + rest / 100'000'000);
    const std::uint64_t digits = eight_digits(rest % 100'000'000) | eight_ascii_zeros;
    std::memcpy(at, &digits, 8);
    return {to, static_cast<std::size_t>(at + 8 - to)};
}

bool is_action_name(std::string_view name) noexcept {
    static constexpr std::string_view names[] = {
        "task_uuid",       "task_level",       "action_status", "action_duration",
        "action_children", "action_exception", "action_reason", "action_source"};
    return std::ranges::find(names, name) != std::end(names);
}

} // namespace sapwood::detail
