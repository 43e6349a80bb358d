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
    to.resize(before + field.size());
    field.put(to.data() + before);
}

} // namespace

std::string context_fields(const log_backend& backend, const std::source_location& where) {
    std::string fields;
    if (backend.wants_location()) {
        add_field(fields, log_field_kind::location,
                  fmt::format("{}:{}", where.file_name(), where.line()));
        add_field(fields, log_field_kind::function, where.function_name());
    }
    if (backend.wants_site()) {
        const std::uint64_t site = (reinterpret_cast<std::uintptr_t>(where.file_name()) << 24) ^
                                   (std::uint64_t{where.line()} << 8) ^ where.column();
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
                     std::string_view message, std::string_view fields) {
    log_producer* const producer = core.backend->producer();
    if (producer != nullptr) {
        const std::size_t room =
            producer->writer.frame_bytes_max() - sizeof(log_frame) - 8 - log_text_overrun_bytes_max;
        if (message.size() + fields.size() > room) {
            fields = fields.size() <= room / 2 ? fields : std::string_view();
            message = cut_at_character(message, room - fields.size());
            flags |= log_frame::truncated;
        }
    }
    if (!fields.empty()) {
        flags |= log_frame::has_fields;
    }
    put_record(core, importance, flags, message.size(), fields.size(), [&](char* to) {
        to += message.copy(to, message.size());
        fields.copy(to, fields.size());
    });
}

void put_slowly(const log_core& core, level importance, bool plain, std::string_view message,
                std::string_view fields, std::source_location where) {
    std::string with_context;
    if (core.backend->wants_context()) {
        with_context = context_fields(*core.backend, where);
        with_context += fields;
        fields = with_context;
    }
    put_long_record(core, importance, plain ? log_frame::plain : std::uint8_t{0}, message, fields);
}

void log_float_text::format(double value, int precision) noexcept {
    char* const end = precision >= 0
                          ? fmt::format_to(text_, FMT_COMPILE("{:.{}f}"), value, precision)
                          : fmt::format_to(text_, FMT_COMPILE("{}"), value);
    size_ = static_cast<std::size_t>(end - text_);
}

} // namespace sapwood::detail
