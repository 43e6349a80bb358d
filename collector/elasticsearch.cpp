#include "elasticsearch.hpp"

#include "json_document.hpp"
#include "json_slices.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace sapwood::collector {

namespace {

namespace dom = simdjson::dom;

/// What a line before a document says. Views into its parser.
struct bulk_action {
    std::string_view name;
    std::string_view index;
    std::string_view id;
};

/// As Elasticsearch has it, which makes an answer's length one of the request's.
constexpr std::size_t index_bytes_max = 255;
constexpr std::size_t id_bytes_max = 512;

/// Of what an answer says of documents: many short ones that are wrong make it tens of times as
/// long as the request.
constexpr std::size_t items_bytes_max = 4u << 20;

/// The action of a line; none, where it is no such line, and nobody can say what the next one is.
std::optional<bulk_action> parse_action(json_document& document, std::string_view line,
                                        std::string_view index, decoded_body& scratch) {
    const auto object = document.parse(line, scratch);
    if (!object || object->size() != 1) {
        return std::nullopt;
    }
    const auto [name, value] = *object->begin();
    dom::object members;
    if ((name != "index" && name != "create" && name != "update" && name != "delete") ||
        value.get(members) != simdjson::SUCCESS) {
        return std::nullopt;
    }
    bulk_action action{name, index, {}};
    for (const auto [key, member] : members) {
        std::string_view text;
        if (member.get(text) != simdjson::SUCCESS) {
            continue;
        }
        if (key == "_index") {
            action.index = text;
        } else if (key == "_id") {
            action.id = text;
        }
    }
    if (action.index.size() > index_bytes_max || action.id.size() > id_bytes_max) {
        return std::nullopt;
    }
    return action;
}

/// Appends what becomes of a document; `why` is empty where it is taken.
void append_item(const bulk_action& action, std::string_view type, std::string_view why,
                 std::string& to) {
    to += to.ends_with('[') ? "{" : ",{";
    append_json_text(action.name, to);
    to += R"(:{"_index":)";
    append_json_text(action.index, to);
    if (!action.id.empty()) {
        to += R"(,"_id":)";
        append_json_text(action.id, to);
    }
    if (why.empty()) {
        to += R"(,"_version":1,"result":"created","status":201}})";
        return;
    }
    to += R"(,"status":400,"error":{"type":)";
    append_json_text(type, to);
    to += R"(,"reason":)";
    append_json_text(why, to);
    to += "}}}";
}

class bulk_reader {
  public:
    bulk_reader(std::string_view body, decoded_body& to)
        : rest_(body),
          to_(to),
          scratch_(to.limits) {}

    /// Whether any document was refused.
    [[nodiscard]] bool has_errors() const noexcept { return has_errors_; }

    void read(std::string_view index, std::string& items) {
        while (to_.is_well() && !rest_.empty()) {
            ++line_;
            const std::string_view line = without_space(next_line());
            if (line.empty()) {
                continue;
            }
            scratch_.clear();
            const auto action = parse_action(actions_, line, index, scratch_);
            if (!action) {
                to_.fail(400, fmt::format("line {}: it is no action: index or create, in an object "
                                          "by itself",
                                          line_));
                return;
            }
            take(*action, items);
            if (items.size() > items_bytes_max) {
                to_.fail(413, fmt::format("line {}: the answer would be longer than {} bytes: send "
                                          "fewer documents at once",
                                          line_, items_bytes_max));
            }
        }
    }

  private:
    std::string_view next_line() noexcept {
        const auto end = std::min(rest_.find('\n'), rest_.size());
        const std::string_view line = rest_.substr(0, end);
        rest_.remove_prefix(std::min(end + 1, rest_.size()));
        return line;
    }

    void take(const bulk_action& action, std::string& items) {
        if (++actions_read_ > to_.limits.json.records_max) {
            to_.fail(413,
                     fmt::format("the body has more than {} records", to_.limits.json.records_max));
            return;
        }
        std::string_view document;
        if (action.name != "delete") {
            if (rest_.empty()) {
                to_.fail(400,
                         fmt::format("line {}: the document that is to follow is missing", line_));
                return;
            }
            ++line_;
            document = without_space(next_line());
        }
        if (action.name != "index" && action.name != "create") {
            refuse(action, "illegal_argument_exception",
                   "this is a log: documents can be indexed and created, and that is all", items);
            return;
        }
        if (document.size() > to_.limits.json.record_bytes_max) {
            refuse(action, "illegal_argument_exception",
                   fmt::format("the document is longer than {} bytes",
                               to_.limits.json.record_bytes_max),
                   items);
            return;
        }
        scratch_.clear();
        const auto object = documents_.parse(document, scratch_);
        if (!object) {
            refuse(action, "document_parsing_exception", scratch_.error(), items);
        } else if (to_.add(level_of(*object), document)) {
            append_item(action, {}, {}, items);
        }
    }

    void refuse(const bulk_action& action, std::string_view type, std::string_view why,
                std::string& items) {
        has_errors_ = true;
        append_item(action, type, why, items);
    }

    std::string_view rest_;
    decoded_body& to_;
    /// What a line has to say of itself.
    decoded_body scratch_;
    json_document actions_;
    json_document documents_;
    std::size_t line_ = 0;
    std::size_t actions_read_ = 0;
    bool has_errors_ = false;
};

} // namespace

void decode_bulk(std::string_view body, std::string_view index, decoded_body& to,
                 std::string& reply) {
    if (without_space(body).empty()) {
        to.fail(400, "the body is empty");
        return;
    }
    if (!body.ends_with('\n')) {
        to.fail(400, "the body must end with a newline: it may have been cut");
        return;
    }
    bulk_reader reader(body, to);
    std::string items = "[";
    reader.read(index, items);
    // Clients look for `"errors":false,"items":[` in it, as it stands here.
    reply = fmt::format(R"({{"took":0,"errors":{},"items":{}]}})", reader.has_errors(), items);
}

} // namespace sapwood::collector
