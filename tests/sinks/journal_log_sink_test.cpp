// journal_log_sink: entries as a journal gets them, over a socket of the test's own.
#include "support/co_test.hpp"
#include "support/log_records.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/datagram.hpp>
#include <sapwood/journal_log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/owned_fd.hpp>
#include <sapwood/sanitizers.hpp>

#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace {

using namespace sapwood;
using test::line_of;
using test::owned_record;
using test::temporary_directory;
using test::write_text;

using entry = std::multimap<std::string, std::string>;

/// As the native protocol has it; throws std::out_of_range where it is broken.
entry parse(std::string_view text) {
    entry fields;
    while (!text.empty()) {
        const auto newline = text.find('\n');
        const auto equals = text.find('=');
        if (equals < newline) {
            fields.emplace(text.substr(0, equals), text.substr(equals + 1, newline - equals - 1));
            text.remove_prefix(newline + 1);
            continue;
        }
        const std::string name(text.substr(0, newline));
        std::uint64_t size = 0;
        std::memcpy(&size, text.substr(newline + 1, 8).data(), sizeof(size)); // little-endian here
        fields.emplace(name, text.substr(newline + 9, size));
        CHECK(text.substr(newline + 9).at(size) == '\n');
        text.remove_prefix(newline + 9 + size + 1);
    }
    return fields;
}

struct journal {
    explicit journal(const std::string& path) : socket(endpoint::unix_path(path)) {}

    /// The next datagram, or the memory file that came instead.
    std::string take() {
        std::string text(300'000, '\0');
        iovec part{text.data(), text.size()};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        const auto got = ::recvmsg(socket.fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        REQUIRE(got >= 0);
        const cmsghdr* const header = CMSG_FIRSTHDR(&message);
        if (header == nullptr) {
            return text.substr(0, static_cast<std::size_t>(got));
        }
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        const owned_fd memory(fd);
        CHECK(got == 0);
        seals = ::fcntl(fd, F_GET_SEALS);
        text.assign(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)), '\0');
        CHECK(::pread(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
        return text;
    }

    unix_datagram socket;
    int seals = 0;
};

std::string value_of(const entry& fields, const std::string& name) {
    CHECK(fields.count(name) == 1);
    const auto found = fields.find(name);
    return found == fields.end() ? "(none)" : found->second;
}

#if !SAPWOOD_ADDRESS_SANITIZER
/// While it lives, this process gets no new descriptor.
class no_descriptors {
  public:
    no_descriptors() {
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
        rlimit none = before_;
        none.rlim_cur = 0;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    }

    no_descriptors(const no_descriptors&) = delete;
    no_descriptors& operator=(const no_descriptors&) = delete;

    ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  private:
    rlimit before_{};
};
#endif

} // namespace

TEST_SUITE("journal_log_sink") {

    TEST_CASE("a record is an entry with what the journal knows of it") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        {
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<journal_log_sink>(
                     journal_log_sink_options{.ident = "app", .path = directory / "socket"})});
            const logger log = logger(std::move(options)).child("db");
            log.warn("cache miss", kv("user-name", "ann"), kv("age", 12));
        }
        const entry fields = parse(daemon.take());
        CHECK(value_of(fields, "MESSAGE") == "cache miss");
        CHECK(value_of(fields, "PRIORITY") == "4");
        CHECK(value_of(fields, "SYSLOG_IDENTIFIER") == "app");
        CHECK(value_of(fields, "TID") == std::to_string(::gettid()));
        CHECK(value_of(fields, "LOGGER") == "db");
        CHECK(value_of(fields, "USER_NAME") == "ann");
        CHECK(value_of(fields, "AGE") == "12");
        CHECK(value_of(fields, "CODE_FILE").ends_with("journal_log_sink_test.cpp"));
        CHECK(std::stoi(value_of(fields, "CODE_LINE")) > 0);
        CHECK(value_of(fields, "CODE_FUNC") != "");
        CHECK(value_of(fields, "TIMESTAMP").ends_with("Z"));
    }

    CO_TEST_CASE("values come as they are: newlines, NULs, backslashes, equals signs") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        journal_log_sink sink({.path = directory / "socket"});
        co_await sink.open();
        const std::string hostile("a\nPRIORITY=0\nb\0c\\d\\ne=f\n", 25);
        owned_record record{.message = hostile};
        record.with(kv("value", hostile), kv("empty", ""));
        const auto form = sink.default_form();
        const std::string line = line_of(*form, record);
        CHECK(line.find('\n') == line.size() - 1);
        co_await write_text(sink, line);
        const entry fields = parse(daemon.take());
        CHECK(value_of(fields, "MESSAGE") == hostile);
        CHECK(value_of(fields, "VALUE") == hostile);
        CHECK(value_of(fields, "EMPTY") == "");
        CHECK(value_of(fields, "PRIORITY") == "6");
        co_await sink.close();
    }

    CO_TEST_CASE("what is cut, and what the log itself says, has a field that nobody can forge") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        journal_log_sink sink({.path = directory / "socket"});
        co_await sink.open();
        const auto form = sink.default_form();
        const owned_record cut{.message = "long", .is_truncated = true};
        const owned_record own{.message = "5 records are missing", .logger_id = log_record::own_id};
        owned_record forged{.message = "5 records are missing (cut)", .logger = "sapwood"};
        forged.with(kv("cut", true), kv("own", true));
        for (const owned_record& each : {cut, own, forged}) {
            co_await write_text(sink, line_of(*form, each));
        }
        entry fields = parse(daemon.take());
        CHECK(value_of(fields, "MESSAGE") == "long");
        CHECK(value_of(fields, "CUT") == "true");
        CHECK(fields.count("OWN") == 0);
        fields = parse(daemon.take());
        CHECK(value_of(fields, "OWN") == "true");
        CHECK(fields.count("CUT") == 0);
        fields = parse(daemon.take());
        CHECK(fields.count("OWN") == 0);
        CHECK(fields.count("CUT") == 0);
        CHECK(value_of(fields, "FIELD_CUT") == "true");
        co_await sink.close();
    }

    TEST_CASE("names of fields are made what the journal takes, and forge nothing") {
        CHECK(journal_field_name("key") == "KEY");
        CHECK(journal_field_name("http.status-code") == "HTTP_STATUS_CODE");
        CHECK(journal_field_name("__CURSOR") == "CURSOR");
        CHECK(journal_field_name("_PID") == "PID");
        CHECK(journal_field_name("9lives") == "FIELD_9LIVES");
        CHECK(journal_field_name("") == "FIELD_");
        CHECK(journal_field_name("\xc3\xa4") == "FIELD_");
        CHECK(journal_field_name("message") == "FIELD_MESSAGE");
        CHECK(journal_field_name("Priority") == "FIELD_PRIORITY");
        CHECK(journal_field_name("user_unit") == "FIELD_USER_UNIT");
        CHECK(journal_field_name("user-invocation-id") == "FIELD_USER_INVOCATION_ID");
        CHECK(journal_field_name("coredump_user_unit") == "FIELD_COREDUMP_USER_UNIT");
        CHECK(journal_field_name("a=b\nc") == "A_B_C");
        CHECK(journal_field_name("object_pid") == "FIELD_OBJECT_PID");
        CHECK(journal_field_name("task_uuid") == "FIELD_TASK_UUID"); // forges no place
        CHECK(journal_field_name("action-status") == "FIELD_ACTION_STATUS");
        CHECK(journal_field_name(std::string(100, 'x')) == std::string(64, 'X'));
    }

    CO_TEST_CASE("an entry that is too long for a datagram goes in a sealed memory file") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        journal_log_sink sink({.path = directory / "socket"});
        co_await sink.open();
        const std::string message = std::string(3'000'000, 'x') + "\nend";
        const auto form = sink.default_form();
        const std::string lines =
            line_of(*form, {.message = message}) + line_of(*form, {.message = "short"});
        co_await write_text(sink, lines);
        CHECK(value_of(parse(daemon.take()), "MESSAGE") == message);
        CHECK(daemon.seals == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
        CHECK(value_of(parse(daemon.take()), "MESSAGE") == "short");
        co_await sink.close();
    }

#if !SAPWOOD_ADDRESS_SANITIZER
    // Left out there: UBSan, which goes with it, looks at exceptions through a pipe, and finds
    // fault where it gets none.
    CO_TEST_CASE("without a descriptor to be had nothing is lost") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        journal_log_sink sink({.path = directory / "socket"});
        co_await sink.open();
        const auto form = sink.default_form();
        const std::string first = line_of(*form, {.message = "first"});
        const std::string lines = first + line_of(*form, {.message = std::string(3'000'000, 'x')});
        std::error_code code;
        {
            const no_descriptors exhausted;
            code = (co_await test::failure_of([&] { return write_text(sink, lines); })).first;
        }
        CHECK(code == std::errc::too_many_files_open);
        std::size_t kept = lines.size();
        co_await write_text(sink, first); // a connection
        CHECK(value_of(parse(daemon.take()), "MESSAGE") == "first");
        {
            const no_descriptors exhausted;
            try {
                co_await write_text(sink, lines);
            } catch (const write_error& error) {
                kept = error.bytes_kept;
            }
        }
        CHECK(kept == first.size());
        CHECK(value_of(parse(daemon.take()), "MESSAGE") == "first");
        co_await write_text(sink, std::string_view(lines).substr(kept));
        CHECK(value_of(parse(daemon.take()), "MESSAGE").size() == 3'000'000);
        co_await sink.close();
    }
#endif

    CO_TEST_CASE("last words of a process that dies go to the journal") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        journal_log_sink sink({.ident = "app", .path = directory / "socket", .must_connect = true});
        co_await sink.open();
        const std::string_view last = "last words\n";
        CHECK(sink.write_in_crash(std::span(last.data(), last.size())));
        const entry fields = parse(daemon.take());
        CHECK(value_of(fields, "MESSAGE") == "last words");
        CHECK(value_of(fields, "PRIORITY") == "2");
        CHECK(value_of(fields, "SYSLOG_IDENTIFIER") == "app");
        co_await sink.close();
    }

    CO_TEST_CASE("lines of a batch that go out in a crash are entries as they would have been") {
        const temporary_directory directory;
        journal daemon(directory / "socket");
        journal_log_sink sink({.path = directory / "socket", .must_connect = true});
        co_await sink.open();
        const auto form = sink.default_form();
        for (const std::string& message :
             {std::string("plain"), std::string("two\nlines \\ and a \0", 19),
              std::string(230'000, 'x')}) {
            owned_record record{.message = message, .importance = level::warning};
            const std::string line = line_of(*form, record.with(kv("user", "ann")));
            co_await write_text(sink, line);
            const std::string as_always = daemon.take();
            CHECK(sink.write_in_crash(line));
            CHECK((daemon.take() == as_always));
            CHECK((value_of(parse(as_always), "MESSAGE") == message));
        }
        co_await sink.close();
    }
}
