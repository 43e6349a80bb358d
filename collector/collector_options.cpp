#include "collector_options.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// Those who are to be let in must be able to get as far as that.
void require_reachable(const listen_options& listener) {
    if (listener.users.empty() || listener.at.family() == AF_UNSPEC) {
        return;
    }
    if (listener.at.family() != AF_UNIX) {
        throw std::invalid_argument(
            fmt::format("{} is no Unix socket: whose process connects to it nobody knows, so there "
                        "can be no list of users",
                        listener.at.to_string()));
    }
    const bool are_others = std::ranges::any_of(
        listener.users, [](uid_t user) { return user != 0 && user != ::geteuid(); });
    if (are_others && (listener.mode & 0066) == 0 && listener.inherited_fd < 0 &&
        !listener.at.path().empty()) {
        throw std::invalid_argument(fmt::format(
            "{} is for users whom its mode, {:o}, does not let in: say 660 or 666; who is not on "
            "the list is sent away all the same",
            listener.at.to_string(), listener.mode));
    }
}

void require_securable(const listen_options& listener, const tls_options& tls) {
    if (listener.secured != security::tls) {
        return;
    }
    if (!listener.is_stream() || listener.at.family() == AF_UNIX) {
        throw std::invalid_argument(
            fmt::format("{}: TLS is for streams over TCP", listener.at.to_string()));
    }
    if (!tls.is_wanted()) {
        throw std::invalid_argument(
            fmt::format("{} is to have TLS: give it a certificate and a key (--tls-cert FILE "
                        "--tls-key FILE)",
                        listener.at.to_string()));
    }
}

/// The second of two that are at one place could not listen. Port 0 is another one each time, and
/// sockets that are inherited are there.
void require_own_places(const std::vector<listen_options>& listeners) {
    const auto is_own = [](const listen_options& each) {
        return !each.inherited.empty() || each.inherited_fd >= 0 || each.at.family() == AF_UNSPEC ||
               (each.at.family() != AF_UNIX && each.at.port() == 0);
    };
    for (const listen_options& each : listeners) {
        const auto is_at_same = [&](const listen_options& other) {
            return !is_own(other) && other.at == each.at &&
                   (each.at.family() == AF_UNIX || other.is_stream() == each.is_stream());
        };
        const std::span before(listeners.data(), &each);
        if (!is_own(each) && std::ranges::any_of(before, is_at_same)) {
            throw std::invalid_argument(
                fmt::format("{} is said twice: only one can listen there", each.at.to_string()));
        }
    }
}

/// Two pipelines would write into each other's lines.
void require_own_paths(const std::vector<named_log_options>& logs) {
    std::vector<std::filesystem::path> paths;
    for (const named_log_options& each : logs) {
        std::error_code unknown;
        std::filesystem::path path = std::filesystem::weakly_canonical(each.path, unknown);
        if (unknown) {
            path = std::filesystem::path(each.path).lexically_normal();
        }
        const auto same = std::ranges::find(paths, path);
        if (same != paths.end()) {
            throw std::invalid_argument(fmt::format(
                "logs {} and {} both have the path {}: give each its own",
                logs[static_cast<std::size_t>(same - paths.begin())].name, each.name, each.path));
        }
        paths.push_back(std::move(path));
    }
}

/// What is to keep somebody out, and has nothing to keep him out of, has been mistaken for what
/// does.
void require_guarded(const collector_options& options) {
    if (!options.tls.client_ca.empty() && !options.tls.is_wanted()) {
        throw std::invalid_argument("clients are to show certificates (--tls-client-ca), which "
                                    "needs TLS: --tls-cert FILE --tls-key FILE");
    }
    const bool has_http =
        std::ranges::any_of(options.listeners, [](const listen_options& each) noexcept {
            return each.kind == source_kind::http;
        });
    if (!options.tokens.empty() && !has_http) {
        throw std::invalid_argument("tokens (--tokens) are for HTTP, and there is no place for it: "
                                    "say --http, or who may write otherwise");
    }
    if (!options.hosts.empty() && !has_http) {
        throw std::invalid_argument("names of this machine (--host) are for HTTP, and there is no "
                                    "place for it: say --http");
    }
    if (std::ranges::find(options.hosts, "") != options.hosts.end()) {
        throw std::invalid_argument("a name of this machine (--host) is empty: say the name by "
                                    "which clients ask for it");
    }
}

/// A name that is none lets nobody write where he was to.
void require_logs(const std::vector<access_token>& tokens,
                  const std::vector<std::string_view>& logs) {
    for (const access_token& each : tokens) {
        for (const std::string& log : each.logs) {
            if (std::ranges::find(logs, log) == logs.end()) {
                throw std::invalid_argument(fmt::format(
                    "the token of {} is for log {}, which there is not", each.name, log));
            }
        }
    }
}

} // namespace

bool has_mode(const listen_options& listener) noexcept {
    return listener.inherited.empty() && listener.at.family() == AF_UNIX &&
           !listener.at.path().empty();
}

bool is_secured(const listen_options& listener, bool has_tls) noexcept {
    return listener.secured == security::tls ||
           (listener.secured == security::automatic && has_tls && listener.is_stream() &&
            listener.at.family() != AF_UNIX);
}

void require_access(const listen_options& listener, const collector_options& options,
                    bool has_tls) {
    const bool is_abstract = listener.at.family() == AF_UNIX && listener.at.path().empty();
    if (is_abstract && listener.users.empty() && !options.takes_from_anybody) {
        throw std::invalid_argument(fmt::format(
            "{} has no path, and so no mode: every user of this machine may write there; give it a "
            "list of users (--unix-allow), a path, or say --from-anybody",
            listener.at.to_string()));
    }
    if (is_local(listener.at) || options.takes_from_anybody || is_secured(listener, has_tls)) {
        return;
    }
    if (!listener.is_stream()) {
        throw std::invalid_argument(fmt::format(
            "{} is to be reached from other machines, and whoever reaches it may write: "
            "listen on 127.0.0.1, or say --from-anybody",
            listener.at.to_string()));
    }
    if (listener.kind != source_kind::http) {
        throw std::invalid_argument(fmt::format(
            "{} is to be reached from other machines, and whoever reaches it may write: give it "
            "TLS (--tls-cert FILE --tls-key FILE), listen on 127.0.0.1, or say --from-anybody",
            listener.at.to_string()));
    }
    if (options.tokens.empty()) {
        throw std::invalid_argument(
            fmt::format("{} is to be reached from other machines: give tokens (--tokens FILE) or "
                        "TLS (--tls-cert FILE --tls-key FILE), listen on 127.0.0.1, or say "
                        "--from-anybody",
                        listener.at.to_string()));
    }
}

bool is_same_listener(const listen_options& one, const listen_options& other) noexcept {
    return one.kind == other.kind && one.inherited == other.inherited &&
           (!one.inherited.empty() || one.at == other.at);
}

bool is_same_queue(const queue_options& one, const queue_options& other) noexcept {
    return one.queue == other.queue && one.log == other.log;
}

void require_valid(const collector_options& options) {
    if (options.logs.empty()) {
        throw std::invalid_argument("a collector needs a log");
    }
    std::vector<std::string_view> names;
    for (const named_log_options& each : options.logs) {
        require_valid(each);
        if (std::ranges::find(names, each.name) != names.end()) {
            throw std::invalid_argument(fmt::format("there are two logs named {}", each.name));
        }
        names.push_back(each.name);
    }
    require_own_paths(options.logs);
    require_logs(options.tokens, names);
    require_own_places(options.listeners);
    for (const listen_options& each : options.listeners) {
        if (!each.log.empty() && std::ranges::find(names, each.log) == names.end()) {
            throw std::invalid_argument(fmt::format("{} is to write to log {}, which there is not",
                                                    each.at.to_string(), each.log));
        }
        if (each.kind == source_kind::http && !each.log.empty()) {
            throw std::invalid_argument(
                fmt::format("{} is for HTTP, whose requests name their log: have clients POST to "
                            "/log/{}, or give tokens that are for it",
                            each.at.to_string(), each.log));
        }
        require_securable(each, options.tls);
        require_reachable(each);
        if (each.at.family() !=
            AF_UNSPEC) { // where it listens is its maker's affair, and seen then
            require_access(each, options, options.tls.is_wanted());
        }
    }
    for (const queue_options& each : options.queues) {
        if (!each.log.empty() && std::ranges::find(names, each.log) == names.end()) {
            throw std::invalid_argument(fmt::format("queue {} is for log {}, which there is not",
                                                    as_word(each.queue), each.log));
        }
        require_valid(each);
        for (const queue_options& before : std::span(options.queues.data(), &each)) {
            if (is_one_queue(before, each)) {
                throw std::invalid_argument(fmt::format(
                    "queue {} of the same broker is consumed twice: what comes again for one of "
                    "them the other one would not know, and the log would have it twice",
                    as_word(each.queue)));
            }
            const auto log_of = [&](const queue_options& of) {
                return of.log.empty() ? names.front() : std::string_view(of.log);
            };
            if (before.queue == each.queue && log_of(before) == log_of(each)) {
                throw std::invalid_argument(fmt::format(
                    "two queues named {} go to log {}: a message of one would be taken for one of "
                    "the other that has the same id; give each a log of its own",
                    as_word(each.queue), log_of(each)));
            }
        }
    }
    require_guarded(options);
    if (options.tls.is_wanted()) {
        const tls_context probe(options.tls);
    }
}

} // namespace sapwood::collector
