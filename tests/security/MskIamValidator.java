import java.net.URI;
import java.net.URLDecoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * Takes the tokens that Amazon MSK takes, as far as they say who somebody is.
 *
 * The token is a presigned URL in base64url. Its Signature Version 4 is computed anew with the secret that the test's
 * identity service tells for its access key. What the service may do is for ACLs: the principal is what it tells too.
 */
public final class MskIamValidator implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter DATE =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
    private static final String ALGORITHM = "AWS4-HMAC-SHA256";
    private static final String SERVICE = "kafka-cluster";

    private final HttpClient http = HttpClient.newHttpClient();
    private String identities;
    private String region;

    private static final class Refused extends Exception {
        private static final long serialVersionUID = 1;

        Refused(String why) {
            super(why, null, false, false);
        }
    }

    private record Identity(String secret, String sessionToken, String principal) {}

    private record Accepted(String value, long lifetimeMs, String principalName, Long startTimeMs)
            implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }
    }

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {
        // Not options of the login module: with any of them the broker wants to log in by it as well.
        identities = System.getProperty("ottla.test.identities");
        region = System.getProperty("ottla.test.region");
    }

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (!(callback instanceof OAuthBearerValidatorCallback asked)) {
                throw new UnsupportedCallbackException(callback);
            }
            try {
                asked.token(accepted(asked.tokenValue()));
            } catch (Refused refused) {
                asked.error("invalid_token: " + refused.getMessage(), null, null);
            } catch (Exception failed) {
                asked.error("invalid_token: no signed URL", null, null);
            }
        }
    }

    private Accepted accepted(String token) throws Exception {
        URI url = new URI(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        Map<String, String> raw = parameters(url.getRawQuery());
        Map<String, String> told = new HashMap<>();
        raw.forEach((name, value) -> told.put(decoded(name), decoded(value)));
        String host = "kafka." + region + ".amazonaws.com";
        require("https".equals(url.getScheme()) && host.equals(url.getRawAuthority()), "another host");
        require("/".equals(url.getRawPath()) && "kafka-cluster:Connect".equals(told.get("Action")), "another action");
        require(ALGORITHM.equals(told.get("X-Amz-Algorithm")), "another algorithm");
        require("host".equals(told.get("X-Amz-SignedHeaders")), "other signed headers");

        Instant signed = DATE.parse(told.get("X-Amz-Date"), Instant::from);
        long seconds = Long.parseLong(told.get("X-Amz-Expires"));
        Instant expires = signed.plusSeconds(seconds);
        require(seconds > 0 && seconds <= 900, "a life of " + seconds + " s");
        require(Instant.now().isBefore(expires), "expired");
        require(Instant.now().plusSeconds(300).isAfter(signed), "signed in the future");

        String[] scope = told.get("X-Amz-Credential").split("/");
        String day = told.get("X-Amz-Date").substring(0, 8);
        require(scope.length == 5 && day.equals(scope[1]) && "aws4_request".equals(scope[4]), "another scope");
        require(region.equals(scope[2]) && SERVICE.equals(scope[3]), "another region or service");

        Identity identity = identity(scope[0], told.get("X-Amz-Date"));
        require(identity != null, "unknown access key");
        require(identity.sessionToken().equals(told.getOrDefault("X-Amz-Security-Token", "")), "another session token");
        byte[] signature = signature(raw, host, identity.secret(), told.get("X-Amz-Date"), scope);
        byte[] claimed = HexFormat.of().parseHex(told.get("X-Amz-Signature"));
        require(MessageDigest.isEqual(signature, claimed), "the signature does not match");
        return new Accepted(token, expires.toEpochMilli(), identity.principal(), signed.toEpochMilli());
    }

    /** As AWS's reference has it; the signer adds User-Agent behind the signature. */
    private static byte[] signature(Map<String, String> raw, String host, String secret, String date, String[] scope)
            throws Exception {
        List<String> pairs = new ArrayList<>();
        new TreeMap<>(raw).forEach((name, value) -> {
            if (!name.equals("X-Amz-Signature") && !name.equals("User-Agent")) {
                pairs.add(name + "=" + value);
            }
        });
        String canonical = String.join("\n", "GET", "/", String.join("&", pairs), "host:" + host, "", "host", sha256(""));
        String of = String.join("/", scope[1], scope[2], scope[3], scope[4]);
        byte[] key = ("AWS4" + secret).getBytes(StandardCharsets.UTF_8);
        for (String part : List.of(scope[1], scope[2], scope[3], scope[4])) {
            key = hmac(key, part);
        }
        return hmac(key, String.join("\n", ALGORITHM, date, of, sha256(canonical)));
    }

    /** Three lines: secret, session token or nothing, principal. Null for a key that nobody has. */
    private Identity identity(String accessKey, String date) throws Exception {
        URI where = URI.create(identities + "/" + accessKey + "/" + date);
        HttpResponse<String> answer = http.send(HttpRequest.newBuilder(where).build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            return null;
        }
        String[] lines = answer.body().split("\n", -1);
        return new Identity(lines[0], lines[1], lines[2]);
    }

    private static Map<String, String> parameters(String query) {
        Map<String, String> found = new HashMap<>();
        for (String pair : query.split("&")) {
            int at = pair.indexOf('=');
            found.put(pair.substring(0, at), pair.substring(at + 1));
        }
        return found;
    }

    private static void require(boolean holds, String why) throws Refused {
        if (!holds) {
            throw new Refused(why);
        }
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
    }

    private static byte[] hmac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String sha256(String text) throws Exception {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        return HexFormat.of().formatHex(digest);
    }
}
