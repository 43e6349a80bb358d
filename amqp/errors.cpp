#include <sapwood/amqp/errors.hpp>

#include <string>

namespace sapwood::amqp {

namespace {

[[nodiscard]] const char* text_of(errc value) noexcept {
    switch (value) {
    case errc::content_too_large:
        return "the broker takes no such message";
    case errc::no_route:
        return "no queue takes this message";
    case errc::connection_forced:
        return "the broker has ended the connection";
    case errc::invalid_path:
        return "there is no such virtual host";
    case errc::access_refused:
        return "access refused";
    case errc::not_found:
        return "not found";
    case errc::resource_locked:
        return "somebody else uses it exclusively";
    case errc::precondition_failed:
        return "a precondition does not hold";
    case errc::frame_error:
        return "the broker could not read a frame";
    case errc::syntax_error:
        return "the broker could not read a method";
    case errc::command_invalid:
        return "the broker did not expect this method";
    case errc::channel_error:
        return "the broker knows no such channel";
    case errc::unexpected_frame:
        return "the broker did not expect this frame";
    case errc::resource_error:
        return "the broker lacks resources";
    case errc::not_allowed:
        return "the broker does not allow this";
    case errc::not_implemented:
        return "the broker cannot do this";
    case errc::internal_error:
        return "the broker has failed";
    case errc::connection_lost:
        return "the connection is lost";
    case errc::closed:
        return "closed";
    case errc::no_heartbeat:
        return "the peer has said nothing for two heartbeats";
    case errc::protocol_broken:
        return "what came is not AMQP 0-9-1, or breaks its rules";
    case errc::consumer_ended:
        return "the broker has ended the consumer";
    case errc::no_channel_left:
        return "the connection has no channel left";
    case errc::tls_unusable:
        return "TLS cannot be used so";
    case errc::not_trusted:
        return "the broker's certificate is not believed";
    case errc::tls_failed:
        return "no connection by TLS came about";
    }
    return nullptr;
}

class amqp_error_category final : public std::error_category {
  public:
    [[nodiscard]] const char* name() const noexcept override { return "amqp"; }

    [[nodiscard]] std::string message(int value) const override {
        const char* const text = text_of(static_cast<errc>(value));
        return text != nullptr ? text : "reply code " + std::to_string(value);
    }
};

} // namespace

const std::error_category& category() noexcept {
    static const amqp_error_category instance;
    return instance;
}

std::error_code make_error_code(errc value) noexcept {
    return {static_cast<int>(value), category()};
}

} // namespace sapwood::amqp
