#include <sapwood/json_layout.hpp>

#include "logfmt_names.hpp"

#include <sapwood/log_action_view.hpp>
#include <sapwood/log_escape.hpp>

namespace sapwood {

namespace {

void append_logfmt_user_field(const detail::log_field_view& field, log_buffer& to) {
    to.push_back(' ');
    if (detail::is_logfmt_own(field.key)) {
        to.append(detail::users_prefix);
    }
    detail::append_logfmt_key(field.key, to);
    to.push_back('=');
    detail::append_logfmt_value(field.value, to);
}

} // namespace

logfmt_layout::logfmt_layout(log_time_zone zone)
    : time_({.pattern = zone == log_time_zone::utc
                            ? "time=%Y-%m-%dT%H:%M:%S.%FZ level=%l thread=%t"
                            : "time=%Y-%m-%dT%H:%M:%S.%F%z level=%l thread=%t",
             .zone = zone}) {}

void logfmt_layout::append(const log_record& record, log_buffer& to) {
    time_.append(record, to);
    to.cut(to.size() - 1); // its newline
    const auto put = [&to](std::string_view name, std::string_view text) {
        to.push_back(' ');
        to.append(name);
        to.push_back('=');
        detail::append_logfmt_value(text, to);
    };
    if (!record.logger.empty()) {
        put("logger", record.logger);
    }
    if (!record.fields.empty()) {
        detail::for_each_context(record, put);
        detail::for_each_action_text(detail::log_action_view::of(record.fields), put);
    }
    if (record.is_truncated) {
        to.append(" cut=true");
    }
    if (record.is_own()) {
        to.append(" own=true");
    }
    put("message", record.message);
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        if (field.kind <= detail::log_field_kind::boolean) {
            append_logfmt_user_field(field, to);
        }
    });
    to.push_back('\n');
}

} // namespace sapwood
