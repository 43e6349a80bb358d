#include "support/collector_load.hpp"

#include "support/compressed.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/log_verifier.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <set>
#include <sys/socket.h>
#include <system_error>
#include <unordered_map>
#include <utility>

namespace sapwood::test {

namespace {

constexpr std::size_t requests_at_once_max = 8;

/// What JSON's strings may have in them, and a log must give back as it came.
constexpr std::array<std::string_view, 8> pieces = {
    "paid ", "] {", "\\n", "\\\"", "ü", R"(\u0000)", "0123456789abcdef", "{}[],:"};

/// What stands behind the source of a line; empty where that is none of ours.
std::string_view record_in(std::string_view line) {
    constexpr std::string_view end_of_source = "] ";
    const auto at = line.find(end_of_source);
    if (numbered_line::parse(line).is != numbered_line::state::whole || at == line.npos) {
        return {};
    }
    return line.substr(at + end_of_source.size());
}

} // namespace

load_client::load_client(unsigned number, unsigned seed, load_promise asked, load_counts& counts)
    : number_(number),
      asked_(asked),
      random_(seed),
      counts_(counts) {}

task<> load_client::run(endpoint to) {
    try {
        if (to.family() == AF_UNIX) {
            auto connection = co_await unix_stream::connect(to);
            co_await exchange(connection);
        } else {
            auto connection = co_await tcp_stream::connect(to);
            co_await exchange(connection);
        }
    } catch (const std::system_error&) { // the collector is gone
    }
    std::erase_if(open_, [](const request& each) { return each.is_answered; });
}

task<> load_client::exchange(stream& with) {
    buffered_reader<stream> reader(with);
    for (;;) {
        refill();
        std::string bytes;
        for (const request& each : open_) {
            bytes += each.bytes;
            for (std::size_t i = 0; i < each.count; ++i) {
                ++records_[each.first + i].sent;
            }
        }
        co_await with.write_all(std::string_view(bytes));
        for (request& each : open_) {
            const std::optional<http_answer> answer = co_await read_answer(reader);
            if (!answer) {
                co_return;
            }
            take(*answer, each);
        }
        std::erase_if(open_, [](const request& each) { return each.is_answered; });
    }
}

void load_client::take(const http_answer& answer, request& of) {
    if (counts_.is_cut_off) {
        return;
    }
    if (answer.status == 200) {
        of.is_answered = true;
        ++counts_.requests_acknowledged;
        counts_.records_acknowledged += of.count;
        for (std::size_t i = 0; i < of.count; ++i) {
            records_[of.first + i].is_acknowledged = true;
        }
    } else if (answer.status == 503 && answer.head.find("\r\nRetry-After: ") != answer.head.npos) {
        ++counts_.requests_put_off;
    } else {
        counts_.surprises.push_back(answer.head + answer.body + of.bytes);
    }
}

/// What was sent and not answered goes first, and by itself.
void load_client::refill() {
    if (!open_.empty()) {
        return;
    }
    const std::size_t count = random_() % 2 == 0 ? 1 : 1 + random_() % requests_at_once_max;
    for (std::size_t i = 0; i < count; ++i) {
        open_.push_back(make_request());
    }
}

load_client::request load_client::make_request() {
    request made;
    made.first = records_.size();
    switch (random_() % 6) {
    case 0: {
        const std::string body = make_records(1 + random_() % 20, "\n", false);
        made.bytes = post_request("/log", body, "Content-Type: application/x-ndjson\r\n");
        break;
    }
    case 1: {
        const std::string body = make_records(1 + random_() % 20, "\n", false);
        const auto packed = gzipped(body);
        made.bytes = packed ? post_request("/log", *packed, "Content-Encoding: gzip\r\n")
                            : post_request("/log", body);
        break;
    }
    case 2:
        made.bytes =
            post_request("/services/collector/event", make_records(1 + random_() % 5, "", true));
        break;
    case 3:
        made.bytes =
            post_request(asked_ == load_promise::survives_kill ? "/log?ack=written" : "/log",
                         make_records(1, "", false));
        break;
    default:
        made.bytes = post_request("/log", make_records(1, "", false));
    }
    made.count = records_.size() - made.first;
    return made;
}

std::string load_client::make_records(std::size_t count, std::string_view between, bool is_event) {
    std::string body;
    for (std::size_t i = 0; i < count; ++i) {
        std::string text = fmt::format(R"({{"client":{},"n":{},"text":"{}"}})", number_,
                                       records_.size(), make_text());
        if (is_event) {
            text = fmt::format(R"({{"event":{},"host":"h{}"}})", text, number_);
        }
        body += text;
        body += between;
        records_.push_back({.text = std::move(text)});
    }
    return body;
}

/// Mostly short, and at times longer than a record has room in its queue.
std::string load_client::make_text() {
    std::string text;
    const std::size_t count = random_() % 16 == 0 ? random_() % 400 : random_() % 20;
    for (std::size_t i = 0; i < count; ++i) {
        text += pieces.at(random_() % pieces.size());
    }
    return text;
}

namespace {

/// Goes through a log, line by line, with what each client knows.
class comparison {
  public:
    explicit comparison(const std::vector<std::unique_ptr<load_client>>& clients)
        : next_(clients.size()) {
        for (std::size_t client = 0; client < clients.size(); ++client) {
            std::size_t place = 0;
            for (const load_client::record& each : clients[client]->records()) {
                all_.emplace(each.text, known{&each, client, place++});
            }
        }
    }

    void look_at(std::string_view line) {
        if (line.ends_with(" \\(log)")) {
            return; // the log's own, of a torn end, say: no escaping makes that of a record
        }
        const std::string_view record = record_in(line);
        if (!record.empty() && !places_.insert(numbered_line::parse(line).place).second) {
            return; // a segment may begin with what the one before it ends with
        }
        ++seen_.lines;
        const auto at = all_.find(record);
        if (at == all_.end()) {
            note(seen_.strange, "was never sent", line);
            return;
        }
        known& it = at->second;
        if (++it.found > it.record->sent) {
            note(seen_.repeated, "is there too often", line);
        }
        if (it.found == 1) {
            if (it.place < next_[it.client]) {
                note(seen_.disordered, "is behind a later one", line);
            }
            next_[it.client] = it.place + 1;
            seen_.unacknowledged += it.record->is_acknowledged ? 0 : 1;
        }
    }

    load_findings end() {
        for (const auto& [text, it] : all_) {
            if (it.found == 0 && it.record->is_acknowledged) {
                note(seen_.missing, "was acknowledged and is missing", text);
            }
        }
        return seen_;
    }

  private:
    struct known {
        const load_client::record* record;
        std::size_t client;
        std::size_t place;
        unsigned found = 0;
    };

    void note(std::size_t& count, std::string_view what, std::string_view which) {
        ++count;
        if (seen_.example.empty()) {
            seen_.example = fmt::format("{}: {}", what, which);
        }
    }

    std::unordered_map<std::string_view, known> all_;
    /// Of each client, the place behind its last record that was found.
    std::vector<std::size_t> next_;
    std::set<lsn> places_;
    load_findings seen_;
};

} // namespace

load_findings findings_of(const std::string& log,
                          const std::vector<std::unique_ptr<load_client>>& clients) {
    comparison with(clients);
    for (const std::string& path : log_verifier::segments_of(log)) {
        const std::string text = contents_of(path);
        for (std::size_t begin = 0; begin < text.size();) {
            const auto end = std::min(text.find('\n', begin), text.size());
            with.look_at(std::string_view(text).substr(begin, end - begin));
            begin = end + 1;
        }
    }
    return with.end();
}

} // namespace sapwood::test
