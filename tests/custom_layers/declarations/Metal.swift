// As much of Metal as custom layers use, for type-checking where there is none.

import Foundation

public struct MTLSize {
    public init(width: Int, height: Int, depth: Int) {}
}

public protocol MTLTexture: AnyObject {
    var width: Int { get }
    var height: Int { get }
    var arrayLength: Int { get }
}

public protocol MTLFunction: AnyObject {}
public protocol MTLComputePipelineState: AnyObject {}

public protocol MTLLibrary: AnyObject {
    func makeFunction(name: String) -> MTLFunction?
}

public protocol MTLDevice: AnyObject {
    var registryID: UInt64 { get }
    func makeDefaultLibrary(bundle: Bundle) throws -> MTLLibrary
    func makeComputePipelineState(function: MTLFunction) throws -> MTLComputePipelineState
}

public protocol MTLComputeCommandEncoder: AnyObject {
    func setComputePipelineState(_ state: MTLComputePipelineState)
    func setTexture(_ texture: MTLTexture?, index: Int)
    func setBytes(_ bytes: UnsafeRawPointer, length: Int, index: Int)
    func dispatchThreadgroups(_ groups: MTLSize, threadsPerThreadgroup: MTLSize)
    func endEncoding()
}

public protocol MTLCommandBuffer: AnyObject {
    var device: MTLDevice { get }
    func makeComputeCommandEncoder() -> MTLComputeCommandEncoder?
}
