#include "serve.hpp"

#include "number_of.hpp"
#include "service.hpp"

#include <collector/collector.hpp>
#include <collector/settings.hpp>

#include <sapwood/run.hpp>

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace sapwood::tools {

namespace {

using collector::collector_options;

/// `[NAME=][plain:]WHERE`.
collector::listen_options listener_of(collector::source_kind kind, std::string text, bool is_unix) {
    collector::listen_options made;
    made.kind = kind;
    if (const auto equals = text.find('=');
        equals != text.npos && collector::is_log_name(text.substr(0, equals))) {
        made.log = text.substr(0, equals);
        text.erase(0, equals + 1);
    }
    if (constexpr std::string_view plain = "plain:"; text.starts_with(plain)) {
        made.secured = collector::security::none;
        text.erase(0, plain.size());
    }
    collector::set_place(made, text, is_unix);
    return made;
}

/// The same, or what is wrong with it, by the name of its option.
collector::listen_options placed(collector::source_kind kind, const std::string& text,
                                 std::string_view option, bool is_unix) {
    try {
        return listener_of(kind, text, is_unix);
    } catch (const std::exception& wrong) {
        throw std::invalid_argument(fmt::format("{}: {}", option, wrong.what()));
    }
}

/// Values of `[PLACE=]VALUE`: those that name places, and those for all others.
class of_places {
  public:
    of_places(const std::vector<std::string>& all, std::string_view option) : option_(option) {
        for (const std::string& each : all) {
            const auto equals = each.rfind('=');
            const std::string place = equals == each.npos ? "" : each.substr(0, equals);
            values_.push_back({place, each.substr(equals + 1)});
        }
    }

    /// There is a `place`, and it has no use for a value.
    void pass_over(std::string_view place) {
        for (value& each : values_) {
            each.has_wrong_place = each.has_wrong_place || each.place == place;
        }
    }

    /// The values for `place`, each of which is passed on.
    template <class Take>
    void of(std::string_view place, Take take) {
        has_place_ = true;
        const auto is_named = [&](const value& each) { return each.place == place; };
        const bool has_own = !place.empty() && std::ranges::any_of(values_, is_named);
        for (value& each : values_) {
            if (has_own ? each.place == place : each.place.empty()) {
                each.is_used = true;
                take(each.text);
            }
        }
    }

    /// One for all others has none where each of them has its own, and is no mistake then.
    void require_all_used() const {
        for (const value& each : values_) {
            if (each.is_used || (each.place.empty() && has_place_)) {
                continue;
            }
            if (each.place.empty()) {
                throw std::invalid_argument(
                    fmt::format("{} is for Unix sockets, and the command line has none: say where "
                                "(--unix PATH, ...), or leave it out",
                                option_));
            }
            const std::string_view why = each.has_wrong_place
                                             ? "which is no Unix socket that is made here"
                                             : "at which the command line has nothing listen";
            throw std::invalid_argument(fmt::format("{} is for {}, {}", option_, each.place, why));
        }
    }

  private:
    struct value {
        std::string place;
        std::string text;
        bool is_used = false;
        bool has_wrong_place = false;
    };

    std::string_view option_;
    std::vector<value> values_;
    /// One that has a use for values.
    bool has_place_ = false;
};

/// Of `root,1000`.
void add_users(std::string_view text, std::vector<uid_t>& to) {
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        to.push_back(collector::parse_user(text.substr(begin, end - begin), "--unix-allow"));
        begin = end + 1;
    }
}

/// The place of a listener, without its log and what else stands before it.
std::string place_in(std::string_view text) {
    if (const auto equals = text.find('=');
        equals != text.npos && collector::is_log_name(std::string(text.substr(0, equals)))) {
        text.remove_prefix(equals + 1);
    }
    if (constexpr std::string_view plain = "plain:"; text.starts_with(plain)) {
        text.remove_prefix(plain.size());
    }
    return std::string(text);
}

std::string folder_of(const std::string& path) {
    const auto parent = std::filesystem::path(path).parent_path();
    return parent.empty() ? "." : parent.string();
}

/// What its log would be made in is there.
void require_folder(const collector::named_log_options& of) {
    const std::string folder = folder_of(of.path);
    std::error_code unknown;
    if (!std::filesystem::exists(folder, unknown) && !unknown) {
        throw std::invalid_argument(
            fmt::format("log {} is to be at {}, and there is no folder {}: make it, or say another "
                        "path",
                        of.name, of.path, folder));
    }
}

/// ... and ours to write in.
void require_own_folder(const collector::named_log_options& of) {
    const std::string folder = folder_of(of.path);
    if (::access(folder.c_str(), W_OK | X_OK) != 0 || !std::filesystem::is_directory(folder)) {
        throw std::invalid_argument(fmt::format(
            "log {} is to be at {}, and there is no folder {} that this user may write in: make "
            "it, or say another path",
            of.name, of.path, folder));
    }
}

/// What is at its path, if anything is, can be a log.
void require_log_file(const collector::named_log_options& of) {
    const auto refuse = [&of](std::string_view why) {
        throw std::invalid_argument(
            fmt::format("log {} is to be at {}, which {}", of.name, of.path, why));
    };
    std::error_code unknown;
    auto found = std::filesystem::symlink_status(of.path, unknown);
    if (std::filesystem::is_symlink(found)) {
        if (!of.durable.is_none() || of.segment_bytes_max != 0) {
            refuse("is a symbolic link, and none is followed to a log that is synced or has "
                   "segments: name the file itself");
        }
        found = std::filesystem::status(of.path, unknown);
    }
    if (!std::filesystem::exists(found)) {
        return;
    }
    if (!std::filesystem::is_regular_file(found)) {
        refuse("is there and is no regular file: say another path");
    }
    if (const auto names = std::filesystem::hard_link_count(of.path, unknown);
        !unknown && names > 1) {
        refuse("has another name (a hard link), and what is written would be in both: remove one "
               "of them");
    }
}

/// What the path of its socket would be made in is there, or hidden from this user: a socket that
/// is passed on may be where a sandbox lets nobody look. Where one that is asked for by its name is
/// made is somebody else's affair.
void require_socket_folder(const collector::listen_options& of) {
    if (!collector::has_mode(of)) {
        return;
    }
    const std::string folder = folder_of(of.at.path());
    std::error_code hidden;
    const auto found = std::filesystem::status(folder, hidden);
    if (std::filesystem::status_known(found) && !std::filesystem::is_directory(found)) {
        throw std::invalid_argument(
            fmt::format("{} is to be listened at, and there is no folder {}: make it, or say "
                        "another path",
                        of.at.to_string(), folder));
    }
}

} // namespace

serve_command::serve_command(CLI::App& program)
    : command_(program.add_subcommand(
          "serve", "Collect the records of many programs into one log, or several")) {
    logs_.add_options(*command_);
    command_->add_option("--http", http_, "Take records by HTTP: 127.0.0.1:8514, or a path");
    command_->add_option("--unix", unix_, "Take lines, text or JSON, at this path");
    command_->add_option("--unix-datagram", unix_datagrams_,
                         "Take syslog messages at this path, as /dev/log does");
    command_->add_option("--udp", udp_, "Take syslog messages by UDP: 127.0.0.1:5514");
    command_->add_option("--tcp", tcp_, "Take syslog messages by TCP, or by streams at a path");
    command_->add_option("--tcp-lines", tcp_lines_, "Take lines, text or JSON, by TCP");
    queues_.add_options(*command_);
    command_
        ->add_option("--mode", modes_,
                     "Permissions of the sockets' paths, or of one; 600 by default")
        ->type_name("[PATH=]OCTAL");
    command_
        ->add_option("--unix-allow", users_,
                     "Users, by name or number, whose processes may write by Unix sockets, or by "
                     "one")
        ->type_name("[PLACE=]USER,...");
    command_->add_option("--drain", drain_seconds_,
                         "Seconds for what is under way at the end; 10 by default");
    command_->add_option("--limit", limits_, "NAME=NUMBER: body_bytes, idle_seconds, ...")
        ->type_name("NAME=NUMBER");
    command_->add_option("--tls-cert", tls_.certificate,
                         "TLS for all that comes by TCP: the certificate, PEM, with its chain");
    command_->add_option("--tls-key", tls_.key, "Its key, PEM");
    command_->add_option("--tls-client-ca", tls_.client_ca,
                         "Clients show a certificate that one of these has signed");
    command_->add_option("--tls-client", tls_client_, "required or optional")
        ->capture_default_str();
    command_->add_option("--tokens", tokens_, "HTTP needs one of this file's tokens");
    command_->add_option("--host", hosts_,
                         "A name that HTTP requests may have for this machine besides localhost");
    command_->add_flag("--from-anybody", takes_from_anybody_,
                       "Listen beyond this machine although nobody is asked who he is");
    command_->add_option("--config", settings_, "Settings in TOML; options add to them");
    command_->add_flag("--check", only_checks_, "Say whether options and settings are well, only");
    command_->footer(
        "Places to listen at are an address and port, a path, or fd:NAME, a socket that systemd "
        "has made.\nAll but those of --http may begin with NAME=, the log that is for; plain: "
        "before an address is without TLS.\nOptions of logs are for all that --log names, or, with "
        "NAME= before the value, for one.\nExit code: 0 where everything taken is in the logs, 1 "
        "where "
        "something was cut off or lost,\n2 where it cannot begin.");
}

void serve_command::add_listeners(collector_options& to) const {
    using collector::source_kind;
    of_places modes(modes_, "--mode");
    of_places users(users_, "--unix-allow");
    for (const std::string& each : users_) { // who is none is so wherever he is named
        std::vector<uid_t> known;
        add_users(std::string_view(each).substr(each.rfind('=') + 1), known);
    }
    const auto listen = [&](std::string_view option, source_kind kind,
                            const std::vector<std::string>& places, bool is_unix = false) {
        for (const std::string& each : places) {
            collector::listen_options made = placed(kind, each, option, is_unix);
            const std::string place = place_in(each);
            if (collector::has_mode(made)) {
                modes.of(place, [&made](std::string_view text) {
                    made.mode = collector::parse_mode(text, "--mode");
                });
            } else {
                modes.pass_over(place);
            }
            // Of what somebody else has made the family is known when it is found.
            if (is_unix || made.at.family() == AF_UNIX || !made.inherited.empty()) {
                users.of(place, [&made](std::string_view text) { add_users(text, made.users); });
                made.has_users_where_unix = !is_unix;
            } else {
                users.pass_over(place);
            }
            to.listeners.push_back(std::move(made));
        }
    };
    listen("--http", source_kind::http, http_);
    listen("--unix", source_kind::lines, unix_, true);
    listen("--unix-datagram", source_kind::syslog_datagrams, unix_datagrams_, true);
    listen("--udp", source_kind::syslog_datagrams, udp_);
    listen("--tcp", source_kind::syslog, tcp_);
    listen("--tcp-lines", source_kind::lines, tcp_lines_);
    modes.require_all_used();
    users.require_all_used();
}

void serve_command::add_access(collector_options& to) const {
    if (!tokens_.empty()) {
        to.tokens = collector::read_tokens(tokens_);
    }
    to.hosts.insert(to.hosts.end(), hosts_.begin(), hosts_.end());
    to.takes_from_anybody = to.takes_from_anybody || takes_from_anybody_;
    for (const auto member : {&collector::tls_options::certificate, &collector::tls_options::key,
                              &collector::tls_options::client_ca}) {
        if (!(tls_.*member).empty()) {
            to.tls.*member = collector::credential_path(tls_.*member);
        }
    }
    if (tls_client_ != "required" && tls_client_ != "optional") {
        throw std::invalid_argument("--tls-client is required or optional, not " + tls_client_);
    }
    if (command_->count("--tls-client") == 0) {
        return;
    }
    if (to.tls.client_ca.empty()) {
        throw std::invalid_argument("--tls-client is for clients' certificates, and needs "
                                    "--tls-client-ca");
    }
    to.tls.client_is_optional = tls_client_ == "optional"; // whatever the settings say
}

collector_options serve_command::options() const {
    collector_options options;
    if (!settings_.empty()) {
        options = collector::read_settings(settings_);
    }
    std::ranges::move(logs_.chosen(), std::back_inserter(options.logs));
    add_listeners(options);
    std::ranges::move(queues_.chosen(), std::back_inserter(options.queues));
    if (options.logs.empty()) {
        throw std::invalid_argument("say where to write: --log app.log");
    }
    if (options.listeners.empty() && options.queues.empty()) {
        throw std::invalid_argument("say where to listen: --http 127.0.0.1:8514, or --unix, "
                                    "--unix-datagram, --udp, --tcp, --tcp-lines, --queue");
    }
    add_access(options);
    if (drain_seconds_) {
        options.drain = collector::parse_seconds(*drain_seconds_, "--drain");
    }
    for (const std::string& each : limits_) {
        collector::set_limit(options, each, "--limit");
    }
    collector::require_valid(options);
    return options;
}

int serve_command::run() const {
    collector_options wanted = options();
    std::ranges::for_each(wanted.logs, require_folder);
    if (only_checks_) {
        std::ranges::for_each(wanted.logs, require_own_folder);
        std::ranges::for_each(wanted.logs, require_log_file);
        std::ranges::for_each(wanted.listeners, require_socket_folder);
        const auto queues = wanted.queues.size();
        fmt::print("serve: {}, {} to listen at{}: well\n", number_of(wanted.logs.size(), "log"),
                   number_of(wanted.listeners.size(), "place"),
                   queues == 0 ? "" : ", " + number_of(queues, "queue"));
        return 0;
    }
    return sapwood::run(serve(
        std::move(wanted), [this] { return options(); }, !settings_.empty()));
}

} // namespace sapwood::tools
