// What an action is called elsewhere: for continue_task() and for W3C Trace Context.
#include <sapwood/log_action.hpp>

#include "task_uuid.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/trace_parent.hpp>

#include <cstdint>
#include <string>

namespace sapwood::detail {

log_action* log_action::current_for_others(const log_backend& backend) noexcept {
    log_action* const inside = current(backend, log_seen::shown);
    return inside != nullptr ? inside : current(backend, log_seen::all);
}

char* log_action::put_task_id(char* to) const noexcept {
    to += uuid().copy(to, uuid().size());
    *to++ = '@';
    *to++ = '/';
    const std::string_view level = level_prefix().substr(0, level_bytes_ - (level_bytes_ > 0));
    for (const char c : level) {
        *to++ = c == ',' ? '/' : c;
    }
    return to;
}

std::string log_action::task_id() const {
    char id[task_id_bytes_max];
    return {id, put_task_id(id)};
}

std::string log_action::take_child_id() const {
    std::string id = task_id();
    if (level_bytes_ > 0) {
        id += '/';
    }
    if (is_deepest() || is_kept_only_) {
        return id += '0'; // a number that nothing has
    }
    char number[24]; // behind what may throw, so that none is taken for nothing
    id.reserve(id.size() + sizeof(number));
    id.append(number, put_decimal(number, take_number()));
    return id;
}

std::string log_action::traceparent() const {
    // FNV-1a, 64 bits, of the task's id: whoever reads the log can do the same.
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
    for (const char c : task_id()) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x0000'0100'0000'01b3;
    }
    hash += hash == 0 ? 1 : 0; // which no span may be
    trace_parent made;
    trace().copy(made.trace.data(), made.trace.size());
    made.is_sampled = is_sampled_;
    for (std::size_t i = 0; i < made.span.size() / 2; ++i) {
        put_hex_byte(made.span.data() + 2 * i, static_cast<unsigned>(hash >> (56 - 8 * i)));
    }
    return made.text();
}

std::string log_action::trace() const {
    if (has_trace_) {
        return std::string(given_trace());
    }
    std::string digits;
    for (const char c : uuid()) {
        if (c != '-') {
            digits += c;
        }
    }
    return digits;
}

} // namespace sapwood::detail
