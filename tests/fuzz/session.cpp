// Any bytes as a connection's, through all of HTTP: the session, its routes, the interfaces of
// other programs, and the log, which afterwards has an object a line and nothing else; as many as
// were counted; none where nobody was told of success. The first byte says in how long pieces the
// bytes come, and the log does not tell.
#include "fuzz/target.hpp"

#include <collector/http_session.hpp>
#include <collector/intake.hpp>
#include <collector/named_log.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace sapwood::collector;
using sapwood::task;
using sapwood::unix_stream;
using sapwood::test::require_none;

/// In memory where there is such a directory; gone with the process.
const std::string& log_path() {
    static const std::string path = [] {
        std::string folder = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
        folder += "/sapwood-fuzz-XXXXXX";
        if (::mkdtemp(folder.data()) == nullptr) {
            std::abort();
        }
        static const std::string removed = folder;
        std::atexit([] { std::filesystem::remove_all(removed); });
        return folder + "/app.log";
    }();
    return path;
}

struct outcome {
    std::string answers;
    std::vector<std::string> records;
    std::uint64_t counted = 0;
};

task<> say(unix_stream& peer, std::string_view bytes, std::size_t piece) {
    while (!bytes.empty()) {
        const std::string_view some = bytes.substr(0, piece);
        bytes.remove_prefix(some.size());
        co_await peer.write_all(some);
        // The session gets to see it by itself.
        co_await sapwood::yield();
        co_await sapwood::yield();
    }
    co_await peer.shutdown_write();
}

task<> hear(unix_stream& peer, std::string& answers) {
    std::string buffer(16384, ' ');
    while (const auto got = co_await peer.read_some(buffer)) {
        answers.append(buffer, 0, got);
    }
}

/// Both of what a peer does. A session may hang up in the middle.
task<> be_peer(unix_stream& peer, std::string_view bytes, std::size_t piece, std::string& answers) {
    try {
        co_await say(peer, bytes, piece);
    } catch (const std::system_error&) { // it has hung up
    }
    try {
        co_await hear(peer, answers);
    } catch (const std::system_error&) { // with our bytes unread
    }
}

task<> converse(std::string_view bytes, std::size_t piece, outcome& found) {
    collector_limits limits;
    limits.http = {.head_bytes_max = 2048, .fields_max = 16, .body_bytes_max = 4096};
    limits.decompression.bytes_max = 16384;
    intake shared(limits);
    named_log_options log;
    log.name = "app";
    log.path = log_path();
    log.form = log_form::json;
    log.durable = sapwood::durability::none();
    shared.logs.push_back(co_await named_log::open(std::move(log)));
    auto ends = unix_stream::make_pair();
    std::unique_ptr<sapwood::stream> mine = std::make_unique<unix_stream>(std::move(ends.first));
    http_session session(shared, std::make_unique<sapwood::peer_stream>(std::move(mine)),
                         source{0, "http fuzz"}, browser_guard::pages_and_names);
    auto peer = sapwood::spawn(be_peer(ends.second, bytes, piece, found.answers));
    try {
        co_await session.run();
    } catch (const std::system_error&) { // the peer has gone
    }
    co_await peer;
    found.counted = shared.counts.records;
    co_await shared.logs.front().log().close();
}

outcome outcome_of(std::string_view bytes, std::size_t piece) {
    static sapwood::event_loop loop;
    outcome found;
    std::filesystem::remove(log_path());
    loop.run(converse(bytes, piece, found));
    std::ifstream file(log_path(), std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    json_decoder decoder;
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string line = text.substr(0, end);
        text.erase(0, end == text.npos ? text.size() : end + 1);
        if (end == text.npos || !line.starts_with(R"({"time":")") ||
            std::ranges::any_of(
                line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
            require_none("a line that is none: " + line);
        }
        if (decoder.decode(line, json_framing::lines).size() != 1) {
            require_none("a line that is no object: " + line);
        }
        const auto record = line.find(R"("from":"http fuzz",)");
        if (record == line.npos) {
            require_none("a line of nobody's: " + line);
        }
        found.records.push_back(line.substr(record));
    }
    return found;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes = sapwood::test::text_of(data, size);
    if (bytes.empty()) {
        return 0;
    }
    const std::size_t piece = 1 + static_cast<unsigned char>(bytes.front());
    const std::string_view stream = bytes.substr(1);
    const outcome whole = outcome_of(stream, std::max<std::size_t>(stream.size(), 1));
    if (whole.records.size() != whole.counted) {
        require_none("there are " + std::to_string(whole.records.size()) + " records of " +
                     std::to_string(whole.counted));
    }
    if (!whole.records.empty() && whole.answers.find("HTTP/1.1 20") == whole.answers.npos) {
        require_none("records without an answer: " + whole.answers);
    }
    const outcome pieces = outcome_of(stream, piece);
    if (pieces.records != whole.records) {
        require_none("in pieces of " + std::to_string(piece) + " there are " +
                     std::to_string(pieces.records.size()) + " records, in one " +
                     std::to_string(whole.records.size()));
    }
    return 0;
}
