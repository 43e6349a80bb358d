#include <sapwood/log_write.hpp>

#include <sapwood/inherited_value.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/this_task.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace sapwood::detail {

namespace {

void add_field(std::string& to, log_field_kind kind, std::string_view value) {
    const log_field_text field("", kind, log_view_text(value));
    const std::size_t before = to.size();
    to.resize(before + field.size_max() + log_text_overrun_bytes_max);
    const char* const end = field.put(to.data() + before);
    to.resize(static_cast<std::size_t>(end - to.data()));
}

} // namespace

std::string context_fields(const log_backend& backend, const std::source_location& where,
                           bool is_end) {
    std::string fields;
    if (backend.wants_location()) {
        add_field(fields, log_field_kind::location,
                  fmt::format("{}:{}", where.file_name(), where.line()));
        add_field(fields, log_field_kind::function, where.function_name());
    }
    if (backend.wants_site()) {
        const std::uint64_t site = (reinterpret_cast<std::uintptr_t>(where.file_name()) << 24) ^
                                   (std::uint64_t{where.line()} << 8) ^ where.column() ^
                                   (std::uint64_t{is_end} << 63);
        char bytes[sizeof(site)];
        std::memcpy(bytes, &site, sizeof(site));
        add_field(fields, log_field_kind::site, {bytes, sizeof(bytes)});
    }
    if (backend.wants_task() && running_loop != nullptr &&
        running_loop->running_task() != nullptr) {
        add_field(fields, log_field_kind::task, this_task::name());
    }
    return fields;
}

void put_long_record(const log_core& core, level importance, std::uint8_t flags,
                     std::string_view message, std::string_view fields, log_place place) {
    log_producer* const producer = core.backend->producer();
    if (producer != nullptr) {
        const std::size_t room = producer->writer.frame_bytes_max() - sizeof(log_frame) - 8 -
                                 log_text_overrun_bytes_max - place.size_max();
        if (message.size() + fields.size() > room) {
            fields = fields.size() <= room / 2 ? fields : std::string_view();
            message = cut_at_character(message, room - fields.size());
            flags |= log_frame::truncated;
        }
    }
    if (!fields.empty() || place) {
        flags |= log_frame::has_fields;
    }
    const std::size_t bytes_max = message.size() + fields.size() + place.size_max();
    put_record(core, importance, flags, bytes_max, [&](char* to) {
        char* const message_end = to + message.copy(to, message.size());
        char* const place_end = place ? place.put(message_end) : message_end;
        return log_text_ends{message_end, place_end + fields.copy(place_end, fields.size())};
    });
}

void put_slowly(const log_core& core, level importance, std::string_view message,
                std::string_view fields, std::source_location where) {
    std::string with_context;
    if (core.backend->wants_context()) {
        with_context = context_fields(*core.backend, where);
        with_context += fields;
        fields = with_context;
    }
    const std::uint8_t kept_only = kept_only_flag(core, importance);
    put_long_record(core, importance, kept_only, message, fields,
                    log_place::take(*core.backend, kept_only != 0));
}

namespace {

template <class T>
char* put_float_by_fmt(char* to, T value, int precision) noexcept {
    return precision >= 0 ? fmt::format_to(to, FMT_COMPILE("{:.{}f}"), value, precision)
                          : fmt::format_to(to, FMT_COMPILE("{}"), value);
}

} // namespace

char* put_float(char* to, double value, int precision) noexcept {
    return put_float_by_fmt(to, value, precision);
}

/// A float's shortest text is not that of the double with its value.
char* put_float(char* to, float value, int precision) noexcept {
    return precision >= 0 ? put_float_by_fmt(to, double{value}, precision)
                          : put_float_by_fmt(to, value, precision);
}

} // namespace sapwood::detail
