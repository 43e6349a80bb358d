// access: who may send records by HTTP. Tokens with what each is for, and the two checks that keep
// a browser's pages from posting to a collector on the same machine. Loop thread only.
#pragma once

#include "http_parser.hpp"

#include <sapwood/clock.hpp>
#include <sapwood/endpoint.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace sapwood::collector {

struct access_token {
    /// For people; not secret.
    std::string name;
    std::string secret;
    /// The logs that it may write to; none is all of them.
    std::vector<std::string> logs;
    /// In a second, and so many at once after a while without any: a second's worth where that is
    /// 0. No rate: no limit.
    std::uint64_t records_per_second = 0;
    std::uint64_t records_at_once = 0;
    /// Bytes of bodies, without their Content-Encoding; of their records, where these are more.
    std::uint64_t bytes_per_second = 0;
    std::uint64_t bytes_at_once = 0;

    friend bool operator==(const access_token&, const access_token&) = default;
};

/// Lines of `NAME SECRET [logs=a,b] [rate=1000] [burst=5000] [bytes=1000000] [burst_bytes=...]`;
/// empty ones, and those behind a `#`, are none. Names and secrets are unique. Throws
/// std::runtime_error that names the line, std::system_error where the file cannot be read or
/// others than its owner may read it. A file that a service manager has put into
/// $CREDENTIALS_DIRECTORY is for us alone, whatever its mode says.
[[nodiscard]] std::vector<access_token> read_tokens(const std::string& path);

/// The text of a file that holds secrets, `what` they are: as read_tokens wants it, and throws.
[[nodiscard]] std::string read_secrets(const std::string& path, std::string_view what);

/// `credential:NAME` is that file of $CREDENTIALS_DIRECTORY (systemd's LoadCredential=); any other
/// path is itself. Throws std::runtime_error where there is no such directory.
[[nodiscard]] std::string credential_path(const std::string& path);

/// What may come: so much in a second, and so much at once. Time is the caller's.
class quota {
  public:
    /// No rate: no limit.
    quota(std::uint64_t per_second, std::uint64_t at_once) noexcept
        : rate_(static_cast<double>(per_second)),
          most_(static_cast<double>(at_once != 0 ? at_once : per_second)),
          left_(most_) {}

    /// How long it takes until `amount` may come; nothing where it may now: while anything is left,
    /// as much as it is. What of it was not there is waited for afterwards, or who sends much at a
    /// time would have to find all of it there, and never would beside one who sends little.
    [[nodiscard]] clock::duration wait_for(std::uint64_t amount, clock::time_point now) noexcept;

    /// It comes.
    void take(std::uint64_t amount) noexcept { left_ -= static_cast<double>(amount); }

  private:
    double rate_;
    double most_;
    double left_;
    clock::time_point counted_{};
};

class access_rules {
  public:
    struct holder {
        explicit holder(access_token whose) noexcept
            : token(std::move(whose)),
              records(token.records_per_second, token.records_at_once),
              bytes(token.bytes_per_second, token.bytes_at_once) {}

        access_token token;
        quota records;
        quota bytes;
    };

    /// From now on requests need one of these; with none, nobody needs any. Those that were there
    /// before, and are as they were, have used what they have used.
    void set_tokens(std::vector<access_token> tokens);

    /// Names that a request's Host may have besides addresses and localhost.
    void set_hosts(std::vector<std::string> hosts) { hosts_ = std::move(hosts); }

    [[nodiscard]] bool needs_token() const noexcept { return !holders_.empty(); }

    /// Whose the token of an Authorization field is: `Bearer SECRET`, as Splunk's clients have it
    /// `Splunk SECRET`, `Basic`, whose password it is, or Elasticsearch's `ApiKey`, whose key it
    /// is; null for nobody's. Takes the same time however much of a secret was guessed, and
    /// whosever it is. Until set_tokens.
    [[nodiscard]] holder* find(std::string_view authorization) noexcept;

    /// Nothing where so many records and bytes are within its share; then they are counted.
    /// Otherwise after how long they would be.
    [[nodiscard]] static clock::duration wait_for(holder& who, std::uint64_t records,
                                                  std::uint64_t bytes, clock::time_point now);

    /// Whether a request's Host may be ours. A page of somebody else's whose name has come to mean
    /// this machine (DNS rebinding) says that name. Where tokens are needed everybody's may.
    [[nodiscard]] bool is_own_host(std::string_view host) const noexcept;

  private:
    std::vector<holder> holders_;
    std::vector<std::string> hosts_;
};

[[nodiscard]] bool may_write(const access_token& token, std::string_view log) noexcept;

/// Whether a list of users has this one; an empty one has everybody.
[[nodiscard]] bool is_user(const std::vector<uid_t>& users, uid_t who) noexcept;

/// Whether nobody but this machine can reach it.
[[nodiscard]] bool is_local(const endpoint& at);

} // namespace sapwood::collector
