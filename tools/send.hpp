// sapwood send: lines of a program, or of the command line, to a collector. Registers itself with
// the command line; what run() returns is the program's exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

namespace sapwood::tools {

class send_target;
struct tls_send_options;

class send_command {
  public:
    explicit send_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// 0: everything that was read is acknowledged, or sent where nothing is ever acknowledged. 1:
    /// something is not. Throws std::exception where the command line is wrong.
    [[nodiscard]] int run() const;

  private:
    void add_amqp_options();
    void add_tls_options();

    [[nodiscard]] bool is_for_broker() const {
        return !queue_.empty() || !exchange_.empty() || !amqp_.empty() || !routing_key_.empty();
    }

    [[nodiscard]] bool has_tls_files() const noexcept {
        return !tls_ca_.empty() || !tls_certificate_.empty();
    }

    [[nodiscard]] std::unique_ptr<send_target> amqp_target(bool is_json) const;
    [[nodiscard]] tls_send_options tls() const;
    [[nodiscard]] std::unique_ptr<send_target> target(bool is_json) const;

    CLI::App* command_;
    std::vector<std::string> files_;
    std::vector<std::string> message_;
    std::string unix_;
    std::string tcp_;
    std::string http_;
    std::string amqp_;
    std::string queue_;
    std::string exchange_;
    std::string routing_key_;
    std::string log_;
    std::string ack_;
    std::string token_file_;
    std::string tls_ca_;
    std::string tls_certificate_;
    std::string tls_key_;
    std::string tag_;
    std::string level_;
    bool is_syslog_ = false;
    bool is_secured_ = false;
    bool is_verbose_ = false;
    double give_up_seconds_ = 60;
    double end_seconds_ = 2;
};

} // namespace sapwood::tools
