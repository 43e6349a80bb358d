#include "send.hpp"

#include "complaint.hpp"
#include "number_checks.hpp"
#include "number_of.hpp"
#include "record_sender.hpp"

#include <sapwood/run.hpp>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::tools {

namespace {

constexpr int not_everything = 1;

std::string first_line_of(const std::string& path, std::string_view option, std::string_view what) {
    std::ifstream from(path);
    if (!from) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("{}: cannot open {}", option, path));
    }
    std::string line;
    if (!std::getline(from, line) || line.empty()) {
        throw std::invalid_argument(
            fmt::format("{} {}: its first line is to be {}", option, path, what));
    }
    return line;
}

std::string is_no_ack_level(const std::string& text) {
    return text == "accepted" || text == "written" || text == "durable"
               ? ""
               : "say accepted, written or durable, not '" + text + "'";
}

clock::duration span_of(double seconds) {
    return std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds));
}

/// Without any nothing could be told.
std::string is_no_time(const std::string& text) {
    const std::string wrong = is_no_seconds(text);
    return wrong.empty() && std::stod(text) < 0.001 ? "say a thousandth of a second at least"
                                                    : wrong;
}

void print_summary(const sender_counts& counts, bool is_acknowledged, bool is_verbose) {
    const std::string_view done = is_acknowledged ? "acknowledged" : "sent";
    const auto say = [](const std::string& what) { complain_as("send", what); };
    if (counts.taken == counts.read && !counts.trouble.empty()) {
        say(counts.trouble);
    } else if (counts.taken != counts.read) {
        const std::uint64_t left = counts.read - counts.taken;
        say(fmt::format("{} of {} {} not {}{}{}", left, number_of(counts.read, "record"),
                        left == 1 ? "was" : "were", done, counts.trouble.empty() ? "" : ": ",
                        counts.trouble));
    } else if (is_verbose) {
        say(fmt::format("{} {}", number_of(counts.taken, "record"), done));
    }
    if (counts.may_be_lost != 0) {
        say(fmt::format("{}: of the records sent, up to {} were not read, and may be lost",
                        counts.end.empty() ? "a connection broke off" : counts.end,
                        counts.may_be_lost));
    } else if (!counts.end.empty()) {
        say(counts.end);
    }
    if (counts.sent_again != 0) {
        say(fmt::format("{} sent again, and may be there twice",
                        counts.sent_again == 1 ? "1 record was"
                                               : number_of(counts.sent_again, "record") + " were"));
    }
    if (counts.was_interrupted) {
        say("interrupted; the rest of the input was not read");
    }
}

} // namespace

send_command::send_command(CLI::App& program)
    : command_(program.add_subcommand("send", "Send lines to a collector, as records")) {
    command_->add_option("FILE", files_, "Read these; - is standard input, and the default");
    command_
        ->add_option("-m,--message", message_, "Send these words as one record, and read nothing")
        ->option_text("WORD...")
        ->excludes("FILE");
    auto* const by_unix =
        command_->add_option("--unix", unix_, "Lines to a Unix stream socket")->option_text("PATH");
    auto* const by_tcp =
        command_->add_option("--tcp", tcp_, "Lines to a TCP port")->option_text("HOST:PORT");
    auto* const by_http =
        command_
            ->add_option(
                "--http", http_,
                "Batches by HTTP, each acknowledged: http://HOST:PORT[/PATH], https://..., or "
                "a Unix socket's path")
            ->option_text("URL");
    by_tcp->excludes(by_unix);
    by_http->excludes(by_unix)->excludes(by_tcp);
    command_
        ->add_option("--ack", ack_,
                     "What an acknowledgement is to mean: accepted, written or durable; by default "
                     "what the collector's own default is")
        ->check(is_no_ack_level)
        ->option_text("LEVEL")
        ->needs(by_http);
    command_->add_option("--log", log_, "Which of the collector's logs")
        ->option_text("NAME")
        ->needs(by_http);
    command_
        ->add_option("--token-file", token_file_,
                     "A file whose first line is the token that the collector wants")
        ->option_text("FILE")
        ->needs(by_http);
    command_->add_option("--tag", tag_, "Whose records these are")->option_text("NAME");
    command_->add_option("--level", level_, "How important they are")->option_text("LEVEL");
    command_
        ->add_option("--end-within", end_seconds_,
                     "Of a stream of lines: seconds for the other side to end it, too, which says "
                     "that it has read everything")
        ->check(is_no_time)
        ->capture_default_str()
        ->option_text("SECONDS")
        ->excludes(by_http);
    command_->add_flag("--syslog", is_syslog_, "Messages of syslog (RFC 5424) instead of lines")
        ->excludes(by_http);
    add_tls_options();
    add_amqp_options();
    command_
        ->add_option("--give-up-after", give_up_seconds_,
                     "Seconds without anything taken after which it ends; 0: it never does")
        ->check(is_no_seconds)
        ->capture_default_str()
        ->option_text("SECONDS");
    command_->add_flag("-v,--verbose", is_verbose_, "Say how many records there were");
    command_->footer(
        "Records are sent at least once: what was not acknowledged is sent again, and may be there "
        "twice.\nMessages to a broker are there once, as long as sapwood send runs.\nStreams of "
        "lines are never acknowledged: what the kernel has taken counts as "
        "sent.\nExit code: 0 where all that was read is acknowledged, or sent; 1 where something "
        "is not; 2 where the command line is wrong.");
}

void send_command::add_tls_options() {
    command_
        ->add_option("--tls-ca", tls_ca_,
                     "Of TLS, whom to believe, PEM; by default those whom this system believes")
        ->option_text("FILE");
    auto* const certificate =
        command_->add_option("--tls-cert", tls_certificate_, "A certificate to show, PEM")
            ->option_text("FILE");
    auto* const key =
        command_->add_option("--tls-key", tls_key_, "Its key, PEM")->option_text("FILE");
    certificate->needs(key);
    key->needs(certificate);
    command_
        ->add_flag("--tls", is_secured_,
                   "Of --tcp, by TLS; so it is, too, where --tls-ca or --tls-cert is given")
        ->needs(command_->get_option("--tcp"));
}

tls_send_options send_command::tls() const {
    const bool has_plain_target =
        !unix_.empty() || (!http_.empty() && !http_.starts_with("https://"));
    if (has_tls_files() && has_plain_target) {
        throw std::invalid_argument("--tls-ca and --tls-cert are for https:// and for --tcp, and "
                                    "not for " +
                                    http_ + unix_);
    }
    return {.ca = tls_ca_, .certificate = tls_certificate_, .key = tls_key_};
}

void send_command::add_amqp_options() {
    auto* const broker =
        command_
            ->add_option(
                "--amqp", amqp_,
                "Messages to RabbitMQ, each confirmed: amqp://USER:PASSWORD@HOST/VHOST, or "
                "a file whose first line that is; by default what $SAPWOOD_AMQP_URL says")
            ->option_text("URL|FILE");
    auto* const queue = command_
                            ->add_option("--queue", queue_,
                                         "Into this queue, which is made "
                                         "where it is not there")
                            ->option_text("NAME");
    auto* const exchange =
        command_->add_option("--exchange", exchange_, "To this exchange, which is there")
            ->option_text("NAME")
            ->excludes(queue);
    auto* const key = command_->add_option("--routing-key", routing_key_, "By this key")
                          ->option_text("KEY")
                          ->needs(exchange);
    for (auto* const each : {broker, queue, exchange, key}) {
        for (const char* const other : {"--unix", "--tcp", "--http", "--syslog", "--end-within",
                                        "--tls", "--tls-ca", "--tls-cert"}) {
            each->excludes(command_->get_option(other));
        }
    }
}

std::unique_ptr<send_target> send_command::amqp_target(bool is_json) const {
    if (!has_amqp_target()) {
        throw std::invalid_argument("--amqp: this program was built without librabbitmq");
    }
    if (queue_.empty() && exchange_.empty()) {
        throw std::invalid_argument(
            "--amqp: say where in the broker: --queue NAME or --exchange NAME");
    }
    const char* const known = std::getenv("SAPWOOD_AMQP_URL");
    std::string broker = amqp_.empty() && known != nullptr ? known : amqp_;
    if (broker.empty()) {
        throw std::invalid_argument("say which broker: --amqp amqp://USER:PASSWORD@HOST, or the "
                                    "file that holds this, or $SAPWOOD_AMQP_URL");
    }
    if (broker.find("://") == broker.npos) {
        if (broker.find_first_of("@:") != broker.npos && ::access(broker.c_str(), F_OK) != 0) {
            throw std::invalid_argument(
                "--amqp: a broker is a URL, which begins with amqp:// or amqps://, or a file that "
                "is there; what was given is neither, and is not shown, as it may hold a password");
        }
        broker = first_line_of(broker, "--amqp", "the broker's URL, amqp://...");
    }
    return make_amqp({.url = std::move(broker),
                      .exchange = exchange_,
                      .routing_key = exchange_.empty() ? queue_ : routing_key_,
                      .app = tag_,
                      .is_json = is_json});
}

std::unique_ptr<send_target> send_command::target(bool is_json) const {
    if (is_for_broker()) {
        return amqp_target(is_json);
    }
    const tls_send_options secured = tls();
    if (!http_.empty()) {
        return make_http({.url = http_,
                          .log = log_,
                          .ack = ack_,
                          .token = token_file_.empty()
                                       ? ""
                                       : first_line_of(token_file_, "--token-file", "the token"),
                          .tls = secured});
    }
    if (!unix_.empty()) {
        return make_unix_lines(unix_, span_of(end_seconds_));
    }
    if (!tcp_.empty() && (is_secured_ || has_tls_files())) {
        return make_secured_lines(tcp_, secured, span_of(end_seconds_));
    }
    if (!tcp_.empty()) {
        return make_tcp_lines(tcp_, span_of(end_seconds_));
    }
    throw std::invalid_argument("say where to: --unix PATH, --tcp HOST:PORT or --http URL, or "
                                "--queue NAME of a broker");
}

int send_command::run() const {
    using kind = record_form_options::kind;
    record_form_options form;
    form.tag = tag_;
    if (!level_.empty()) {
        form.importance = parse_level(level_);
        if (!form.importance || form.importance == level::off) {
            throw std::invalid_argument(fmt::format(
                "--level is trace, debug, info, warning, error or critical, not '{}'", level_));
        }
    }
    const bool has_members = !tag_.empty() || !level_.empty();
    form.as = is_syslog_ ? kind::syslog : !http_.empty() || has_members ? kind::json : kind::line;
    std::string message;
    for (const std::string& each : message_) {
        message += (message.empty() ? "" : " ") + each;
    }
    std::vector<std::string> files = files_;
    if (files.empty() && message_.empty()) {
        files.emplace_back("-");
    }
    std::unique_ptr<send_target> to = target(form.as == kind::json);
    const bool is_acknowledged = to->is_acknowledged();
    sender_options options;
    options.give_up_after = span_of(give_up_seconds_);
    record_sender sender(std::move(to), std::move(form), options);
    const sender_counts counts = sapwood::run(sender.run(std::move(files), std::move(message)));
    print_summary(counts, is_acknowledged, is_verbose_);
    return counts.has_all() ? 0 : not_everything;
}

} // namespace sapwood::tools
