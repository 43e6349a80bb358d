#include <sapwood/log_foreign.hpp>

#include <fmt/format.h>
#include <string>

namespace sapwood::detail {

namespace {

void add_foreign_field(std::string& to, log_field_kind kind, std::string_view value) {
    append_field(to, log_field_text("", kind, log_view_text(value)));
}

/// Empty where it is the record's own.
std::string origin_field(const foreign_record& record) {
    std::string fields;
    const log_origin origin{.when_ns = record.when.time_since_epoch().count(),
                            .thread = record.thread};
    if (origin.when_ns != 0 || origin.thread != 0) {
        char bytes[log_origin::bytes];
        origin.put(bytes);
        add_foreign_field(fields, log_field_kind::origin, {bytes, sizeof(bytes)});
    }
    return fields;
}

/// So many bytes of fields put_long_record() takes, however long the message is, and some more.
std::size_t fields_bytes_max(const log_core& core) noexcept {
    constexpr std::size_t overhead = sizeof(log_frame) + 8 + log_text_overrun_bytes_max;
    static_assert(log_field_header_bytes + log_origin::bytes + log_place::bytes_max <=
                  (std::size_t{4096} / 4 - overhead) / 2);
    const log_producer* const producer = core.backend->producer();
    return producer != nullptr ? (producer->writer.frame_bytes_max() - overhead) / 2 : 0;
}

} // namespace

std::string foreign_fields(const foreign_record& record) {
    std::string fields = origin_field(record);
    if (!record.file.empty()) {
        add_foreign_field(fields, log_field_kind::location,
                          fmt::format("{}:{}", record.file, record.line));
    }
    if (!record.function.empty()) {
        add_foreign_field(fields, log_field_kind::function, record.function);
    }
    if (!record.task.empty()) {
        add_foreign_field(fields, log_field_kind::task, record.task);
    }
    return fields;
}

void put_foreign(const log_core& core, const foreign_record& record) {
    std::string fields = foreign_fields(record);
    if (fields.size() + log_place::bytes_max > fields_bytes_max(core)) [[unlikely]] {
        fields = origin_field(record); // what all would be lost with otherwise: when, and the place
    }
    fields.reserve(fields.size() + log_place::bytes_max); // nothing fails when it is taken
    if (const log_place place = log_place::take(*core.backend, false)) {
        char text[log_place::bytes_max]; // behind the origin, which comes first
        fields.append(text, place.put(text));
    }
    put_long_record(core, record.importance, 0, record.message, fields);
}

} // namespace sapwood::detail
