#include "trace_fields.hpp"

#include <sapwood/trace_parent.hpp>

namespace sapwood::collector {

namespace {

constexpr std::string_view own_trace = "\"trace_id\"";
constexpr std::size_t usual_trace_bytes = 256u << 10;

} // namespace

std::span<const json_item> trace_fields::added_to(std::span<const json_item> items,
                                                  std::string_view traceparent) {
    const auto parent = trace_parent::parse(traceparent);
    if (!parent) {
        return items;
    }
    std::string members = "\"trace_id\":\"";
    members.append(parent->trace_id()).append(R"(","span_id":")");
    members.append(parent->span_id()).append("\"}");
    std::size_t bytes = 0;
    for (const json_item& each : items) {
        bytes += each.json.size() + members.size() + 1;
    }
    if (text_.capacity() > usual_trace_bytes) {
        std::string().swap(text_);
    }
    text_.clear();
    text_.reserve(bytes); // views into it stay
    items_.clear();
    for (const json_item& each : items) {
        if (each.json.find(own_trace) != each.json.npos) {
            items_.push_back(each);
            continue;
        }
        const std::string_view open = each.json.substr(0, each.json.rfind('}'));
        const std::size_t last = open.find_last_not_of(" \t\r\n");
        const std::size_t begin = text_.size();
        text_.append(open.substr(0, last + 1)).append(open[last] == '{' ? "" : ",");
        text_.append(members);
        items_.push_back({each.importance, std::string_view(text_).substr(begin)});
    }
    return items_;
}

} // namespace sapwood::collector
