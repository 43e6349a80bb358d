// What an action is called elsewhere: for continue_task() and for W3C Trace Context.
#include <sapwood/log_action.hpp>

#include "task_uuid.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/trace_parent.hpp>

#include <cstdint>
#include <string>

namespace sapwood::detail {

std::string log_action::task_id() const {
    std::string id(uuid());
    id += "@/";
    for (const char c : level_prefix()) {
        id += c == ',' ? '/' : c;
    }
    if (id.back() == '/' && level_bytes_ > 0) {
        id.pop_back();
    }
    return id;
}

std::string log_action::take_child_id() const {
    std::string id = task_id();
    if (level_bytes_ > 0) {
        id += '/';
    }
    if (is_deepest()) {
        return id += '0'; // a number that nothing has
    }
    char number[24]; // behind what may throw, so that none is taken for nothing
    id.reserve(id.size() + sizeof(number));
    return id.append(number, put_decimal(number, take_number()));
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
