#include "send.hpp"

#include "record_sender.hpp"

#include <sapwood/run.hpp>

#include <chrono>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace sapwood::tools {

namespace {

constexpr int not_everything = 1;

std::string read_token(const std::string& path) {
    std::ifstream from(path);
    std::string token;
    if (!std::getline(from, token) || token.empty()) {
        throw std::invalid_argument(
            fmt::format("--token-file {}: its first line is to be the token", path));
    }
    return token;
}

void print_summary(const sender_counts& counts, bool is_acknowledged, bool is_verbose) {
    const std::string_view done = is_acknowledged ? "acknowledged" : "sent";
    const auto say = [](const std::string& what) {
        std::fputs(fmt::format("sapwood send: {}\n", what).c_str(), stderr);
    };
    if (counts.taken == counts.read && !counts.trouble.empty()) {
        say(counts.trouble);
    } else if (counts.taken != counts.read) {
        say(fmt::format("{} of {} records were not {}{}{}", counts.read - counts.taken, counts.read,
                        done, counts.trouble.empty() ? "" : ": ", counts.trouble));
    } else if (is_verbose) {
        say(fmt::format("{} records {}", counts.taken, done));
    }
    if (counts.may_be_lost != 0) {
        say(fmt::format("a connection broke off: of the records sent, up to {} were not read, and "
                        "may be lost",
                        counts.may_be_lost));
    }
    if (counts.sent_again != 0) {
        say(fmt::format("{} records were sent again, and may be there twice", counts.sent_again));
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
            ->add_option("--http", http_,
                         "Batches by HTTP, each acknowledged: http://HOST:PORT[/PATH], or a Unix "
                         "socket's path")
            ->option_text("URL");
    by_tcp->excludes(by_unix);
    by_http->excludes(by_unix)->excludes(by_tcp);
    command_
        ->add_option("--ack", ack_,
                     "What an acknowledgement is to mean: accepted, written or durable; by default "
                     "what the collector's own default is")
        ->check(CLI::IsMember({"accepted", "written", "durable"}))
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
    command_->add_flag("--syslog", is_syslog_, "Messages of syslog (RFC 5424) instead of lines")
        ->excludes(by_http);
    command_
        ->add_option("--give-up-after", give_up_seconds_,
                     "Seconds without anything taken after which it ends; 0: it never does")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str()
        ->option_text("SECONDS");
    command_->add_flag("-v,--verbose", is_verbose_, "Say how many records there were");
    command_->footer(
        "Records are sent at least once: what was not acknowledged is sent again, and may be there "
        "twice.\nStreams of lines are never acknowledged: what the kernel has taken counts as "
        "sent.\nExit code: 0 where all that was read is acknowledged, or sent; 1 where something "
        "is not; 2 where the command line is wrong.");
}

std::unique_ptr<send_target> send_command::target() const {
    if (!http_.empty()) {
        return make_http({.url = http_,
                          .log = log_,
                          .ack = ack_,
                          .token = token_file_.empty() ? "" : read_token(token_file_)});
    }
    if (!unix_.empty()) {
        return make_unix_lines(unix_);
    }
    if (!tcp_.empty()) {
        return make_tcp_lines(tcp_);
    }
    throw std::invalid_argument("say where to: --unix PATH, --tcp HOST:PORT or --http URL");
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
    std::unique_ptr<send_target> to = target();
    const bool is_acknowledged = to->is_acknowledged();
    sender_options options;
    options.give_up_after = std::chrono::duration_cast<clock::duration>(
        std::chrono::duration<double>(give_up_seconds_));
    record_sender sender(std::move(to), std::move(form), options);
    const sender_counts counts = sapwood::run(sender.run(std::move(files), std::move(message)));
    print_summary(counts, is_acknowledged, is_verbose_);
    return counts.has_all() ? 0 : not_everything;
}

} // namespace sapwood::tools
