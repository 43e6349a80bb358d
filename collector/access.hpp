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
#include <vector>

namespace sapwood::collector {

struct access_token {
    /// For people; not secret.
    std::string name;
    std::string secret;
    /// The logs that it may write to; none is all of them.
    std::vector<std::string> logs;
    /// Records in a second, of which a second's worth may come at once. 0: no limit.
    std::uint64_t records_per_second = 0;
};

/// Lines of `NAME SECRET [logs=a,b] [rate=1000]`; empty ones, and those behind a `#`, are none.
/// Throws std::runtime_error that names the line, std::system_error where the file cannot be read
/// or others than its owner may read it.
[[nodiscard]] std::vector<access_token> read_tokens(const std::string& path);

class access_rules {
  public:
    struct holder {
        access_token token;
        /// What is left of its rate, as of `counted`.
        double left = 0;
        clock::time_point counted{};
    };

    /// From now on requests need one of these; with none, nobody needs any.
    void set_tokens(std::vector<access_token> tokens);

    /// Names that a request's Host may have besides addresses and localhost.
    void set_hosts(std::vector<std::string> hosts) { hosts_ = std::move(hosts); }

    [[nodiscard]] bool needs_token() const noexcept { return !holders_.empty(); }

    /// Whose the token of an Authorization field is; null for nobody's. Takes the same time however
    /// much of a secret was guessed. Until set_tokens.
    [[nodiscard]] holder* find(std::string_view authorization) noexcept;

    /// Whether `records` more are within its rate; then they are counted.
    [[nodiscard]] static bool allows(holder& who, std::uint64_t records, clock::time_point now);

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
