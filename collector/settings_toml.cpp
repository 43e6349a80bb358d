// The part of settings that reads TOML; built where toml++ is.
#include "settings.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <toml++/toml.h>
#include <unistd.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// A table of the file, of which every member must be asked for.
class section {
  public:
    section(const toml::table& table, std::string name, const std::string& path)
        : table_(table),
          name_(std::move(name)),
          path_(path) {}

    [[noreturn]] void fail(std::string_view member, const std::string& what) const {
        const toml::node* const node = table_.get(member);
        const auto line = (node != nullptr ? node->source() : table_.source()).begin.line;
        throw std::invalid_argument(
            fmt::format("{}:{}: {}{}: {}", path_, line, name_, member, what));
    }

    [[nodiscard]] std::string full_name(std::string_view member) const {
        return fmt::format("{}: {}{}", path_, name_, member);
    }

    [[nodiscard]] std::optional<std::string> text(std::string_view member) {
        return get<std::string>(member, "a string");
    }

    [[nodiscard]] std::optional<bool> flag(std::string_view member) {
        return get<bool>(member, "true or false");
    }

    [[nodiscard]] std::optional<std::size_t> size(std::string_view member, std::size_t least = 1) {
        const auto number = get<std::int64_t>(member, "a whole number");
        if (number && *number <= 0) {
            fail(member, "must be more than nothing");
        }
        if (number && static_cast<std::size_t>(*number) < least) {
            fail(member, fmt::format("must be at least {}", least));
        }
        return number ? std::optional(static_cast<std::size_t>(*number)) : std::nullopt;
    }

    [[nodiscard]] std::optional<double> number(std::string_view member) {
        return get<double>(member, "a number");
    }

    [[nodiscard]] std::optional<clock::duration> seconds(std::string_view member) {
        const auto number = get<double>(member, "a number of seconds");
        if (number && !(*number >= 0 && *number < 1e9)) {
            fail(member, "must be a number of seconds");
        }
        if (!number) {
            return std::nullopt;
        }
        return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(*number));
    }

    /// Null where there is none.
    [[nodiscard]] const toml::array* array(std::string_view member) const {
        const toml::node* const node = table_.get(member);
        return node != nullptr ? node->as_array() : nullptr;
    }

    /// Of numbers, too.
    [[nodiscard]] std::vector<std::string> words(std::string_view member) {
        known_.emplace_back(member);
        std::vector<std::string> all;
        const toml::node* const node = table_.get(member);
        if (node != nullptr && !node->is_array()) {
            fail(member, "must be a list of names and numbers");
        }
        for (std::size_t i = 0; node != nullptr && i < node->as_array()->size(); ++i) {
            const toml::node& each = (*node->as_array())[i];
            if (const auto number = each.value_exact<std::int64_t>()) {
                all.push_back(std::to_string(*number));
            } else if (const auto text = each.value_exact<std::string>()) {
                all.push_back(*text);
            } else {
                fail(member, "must be a list of names and numbers");
            }
        }
        return all;
    }

    [[nodiscard]] std::vector<std::string> texts(std::string_view member) {
        known_.emplace_back(member);
        std::vector<std::string> all;
        if (const toml::node* const node = table_.get(member); node != nullptr) {
            if (!node->is_array()) {
                fail(member, "must be a list of strings");
            }
            for (const toml::node& each : *node->as_array()) {
                if (!each.is_string()) {
                    fail(member, "must be a list of strings");
                }
                all.push_back(each.as_string()->get());
            }
        }
        return all;
    }

    /// Calls `take` with each table of the list.
    template <class Take>
    void tables(std::string_view member, Take&& take) {
        known_.emplace_back(member);
        const toml::node* const node = table_.get(member);
        if (node == nullptr) {
            return;
        }
        if (!node->is_array_of_tables()) {
            fail(member, fmt::format("must be tables: [[{}]]", member));
        }
        for (const toml::node& each : *node->as_array()) {
            take(section(*each.as_table(), fmt::format("{}.", member), path_));
        }
    }

    template <class Take>
    void table(std::string_view member, Take&& take) {
        known_.emplace_back(member);
        const toml::node* const node = table_.get(member);
        if (node == nullptr) {
            return;
        }
        if (!node->is_table()) {
            fail(member, fmt::format("must be a table: [{}]", member));
        }
        take(section(*node->as_table(), fmt::format("{}.", member), path_));
    }

    /// Whatever was not asked for is a mistake of whoever wrote it.
    void finish() const {
        for (const auto& [key, value] : table_) {
            if (std::ranges::find(known_, key.str()) == known_.end()) {
                fail(key.str(), "is not known here");
            }
        }
    }

  private:
    template <class T>
    std::optional<T> get(std::string_view member, const char* what) {
        known_.emplace_back(member);
        const toml::node* const node = table_.get(member);
        if (node == nullptr) {
            return std::nullopt;
        }
        std::optional<T> value = node->value<T>();
        if (!value) {
            fail(member, fmt::format("must be {}", what));
        }
        return value;
    }

    const toml::table& table_;
    std::string name_;
    const std::string& path_;
    std::vector<std::string> known_;
};

named_log_options log_of(section at) {
    named_log_options log;
    log.name = at.text("name").value_or("");
    log.path = at.text("path").value_or("");
    if (!is_log_name(log.name)) {
        at.fail("name", "must be letters, digits, '.', '-' and '_'");
    }
    if (log.path.empty()) {
        at.fail("path", "is needed");
    }
    if (const auto form = at.text("format")) {
        const auto known = parse_log_form(*form);
        if (!known) {
            at.fail("format", "must be text, json or logfmt");
        }
        log.form = *known;
    }
    if (const auto durable = at.text("durability")) {
        log.durable = parse_durability(*durable, at.full_name("durability"));
    }
    if (const auto ack = at.text("ack")) {
        log.ack = parse_ack_level(*ack);
        if (!log.ack) {
            at.fail("ack", "must be durable, written or accepted");
        }
    }
    log.queue_records = at.size("queue_records").value_or(log.queue_records);
    log.queue_bytes = at.size("queue_bytes").value_or(log.queue_bytes);
    log.segment_bytes_max = at.size("segment_bytes").value_or(log.segment_bytes_max);
    log.preallocated_bytes = at.size("preallocate_bytes").value_or(0);
    log.keep.files = at.size("keep_segments").value_or(0);
    log.keep.bytes = at.size("keep_bytes").value_or(0);
    if (const auto days = at.number("keep_days")) {
        log.keep.age = age_of_days(*days, at.full_name("keep_days"));
    }
    at.finish();
    return log;
}

listen_options listener_of(section at) {
    struct named_kind {
        std::string_view name;
        source_kind kind;
    };

    static constexpr named_kind kinds[] = {{"http", source_kind::http},
                                           {"lines", source_kind::lines},
                                           {"syslog", source_kind::syslog},
                                           {"syslog-datagrams", source_kind::syslog_datagrams}};
    listen_options made;
    const std::string kind = at.text("kind").value_or("");
    const auto* const known = std::ranges::find(kinds, kind, &named_kind::name);
    if (known == std::end(kinds)) {
        at.fail("kind", "must be http, lines, syslog or syslog-datagrams");
    }
    made.kind = known->kind;
    const auto place = at.text("at");
    if (!place) {
        at.fail("at", "is needed: an address and port, or a path");
    }
    try {
        set_place(made, *place);
    } catch (const std::exception& wrong) {
        at.fail("at", wrong.what());
    }
    made.log = at.text("log").value_or("");
    if (const auto mode = at.text("mode")) {
        made.mode = parse_mode(*mode, at.full_name("mode"));
        if (!has_mode(made)) {
            at.fail("mode",
                    "is for the path of a Unix socket that is made here: an inherited one has "
                    "its unit's SocketMode=");
        }
    }
    if (const auto secured = at.flag("tls")) {
        made.secured = *secured ? security::tls : security::none;
    }
    if (const auto* const listed = at.array("allow"); listed != nullptr && listed->empty()) {
        at.fail("allow", "names nobody: leave it out where everybody whom the mode lets in may "
                         "write");
    }
    for (const std::string& each : at.words("allow")) {
        made.users.push_back(parse_user(each, at.full_name("allow")));
    }
    at.finish();
    return made;
}

queue_options queue_of(section at) {
    queue_options made;
    try {
        made.url = broker_url(at.text("url").value_or(""));
    } catch (const std::exception& wrong) {
        at.fail("url", wrong.what());
    }
    made.queue = at.text("queue").value_or("");
    made.log = at.text("log").value_or("");
    if (const auto prefetch = at.size("prefetch")) {
        if (*prefetch > std::numeric_limits<std::uint16_t>::max()) {
            at.fail("prefetch", "must be at most 65535");
        }
        made.prefetch = static_cast<std::uint16_t>(*prefetch);
    }
    try {
        require_valid(made);
    } catch (const std::exception& wrong) {
        at.fail("queue", wrong.what());
    }
    at.finish();
    return made;
}

void read_limits(section at, collector_options& options) {
    for (const size_limit& each : size_limits()) {
        if (const auto size = at.size(each.name, each.least)) {
            if (*size > each.most) {
                at.fail(each.name, fmt::format("must be at most {}", each.most));
            }
            each.of(options) = *size;
        }
    }
    for (const time_limit& each : time_limits()) {
        if (const auto seconds = at.seconds(each.name)) {
            if (*seconds == clock::duration::zero()) {
                at.fail(each.name, "must be more than nothing: nobody could be so fast");
            }
            each.of(options) = *seconds;
        }
    }
    at.finish();
}

void read_tls(section at, tls_options& tls) {
    tls.certificate = credential_path(at.text("cert").value_or(""));
    tls.key = credential_path(at.text("key").value_or(""));
    tls.client_ca = credential_path(at.text("client_ca").value_or(""));
    if (const auto client = at.text("client")) {
        if (*client != "required" && *client != "optional") {
            at.fail("client", "must be required or optional");
        }
        if (tls.client_ca.empty()) {
            at.fail("client", "is for clients' certificates, and needs client_ca");
        }
        tls.client_is_optional = *client == "optional";
    }
    if (!tls.is_wanted()) {
        at.fail("cert", "is needed, and key");
    }
    at.finish();
}

/// What toml++ does not say of a file that it cannot read; empty of one that it can. What is no
/// file may keep its reader waiting, and is not there any more when it is to be read again.
std::string why_unreadable(const std::string& path) {
    struct ::stat found {};

    if (::stat(path.c_str(), &found) != 0 || ::access(path.c_str(), R_OK) != 0) {
        return std::generic_category().message(errno);
    }
    if (S_ISDIR(found.st_mode)) {
        return std::generic_category().message(EISDIR);
    }
    return S_ISREG(found.st_mode) ? "" : "it is no regular file, which settings are read from";
}

void read_access(section at, collector_options& options) {
    if (const auto tokens = at.text("tokens")) {
        options.tokens = read_tokens(*tokens);
    }
    options.hosts = at.texts("hosts");
    options.takes_from_anybody = at.flag("from_anybody").value_or(false);
    at.finish();
}

} // namespace

bool can_read_settings() noexcept {
    return true;
}

collector_options read_settings(const std::string& path) {
    if (const std::string why = why_unreadable(path); !why.empty()) {
        throw std::invalid_argument(fmt::format("cannot read settings from {}: {}", path, why));
    }
    toml::table file;
    try {
        file = toml::parse_file(path);
    } catch (const toml::parse_error& wrong) {
        throw std::invalid_argument(
            fmt::format("{}:{}: {}", path, wrong.source().begin.line, wrong.description()));
    }
    collector_options options;
    section at(file, "", path);
    at.tables("log", [&](section each) { options.logs.push_back(log_of(std::move(each))); });
    at.tables("listen",
              [&](section each) { options.listeners.push_back(listener_of(std::move(each))); });
    at.tables("amqp", [&](section each) { options.queues.push_back(queue_of(std::move(each))); });
    at.table("limits", [&](section each) { read_limits(std::move(each), options); });
    at.table("tls", [&](section each) { read_tls(std::move(each), options.tls); });
    at.table("access", [&](section each) { read_access(std::move(each), options); });
    options.drain = at.seconds("drain_seconds").value_or(options.drain);
    at.finish();
    return options;
}

} // namespace sapwood::collector
