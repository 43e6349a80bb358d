#include <sapwood/log_foreign.hpp>

#include <fmt/format.h>
#include <string>

namespace sapwood::detail {

namespace {

void add_foreign_field(std::string& to, log_field_kind kind, std::string_view value) {
    append_field(to, log_field_text("", kind, log_view_text(value)));
}

} // namespace

std::string foreign_fields(const foreign_record& record) {
    std::string fields;
    const log_origin origin{.when_ns = record.when.time_since_epoch().count(),
                            .thread = record.thread};
    if (origin.when_ns != 0 || origin.thread != 0) {
        char bytes[log_origin::bytes];
        origin.put(bytes);
        add_foreign_field(fields, log_field_kind::origin, {bytes, sizeof(bytes)});
    }
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
    fields.reserve(fields.size() + log_place::bytes_max); // nothing fails when it is taken
    if (const log_place place = log_place::take(*core.backend, false)) {
        char text[log_place::bytes_max]; // behind the origin, which comes first
        fields.append(text, place.put(text));
    }
    put_long_record(core, record.importance, 0, record.message, fields);
}

} // namespace sapwood::detail
